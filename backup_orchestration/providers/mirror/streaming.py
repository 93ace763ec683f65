"""The bytes of an object on their way from one store to another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from backup_orchestration.core.errors import StoreError
from backup_orchestration.core.object_manifest import Digest
from backup_orchestration.providers.mirror.answers import is_md5
from backup_orchestration.stores.bucket import Reached


class Stream:
    """The bytes of an object on their way through here.

    Args:
        source, key, size: where they come from, and how many there are.
        body: as the source gives them.
        said: what they must be, see `Digest`; empty: nobody says.
    """

    def __init__(self, source: Reached, key: str, size: int, body: Any, said: str) -> None:
        self._source, self._key, self._size, self._body = source, key, size, body
        self._said = Digest(said) if said else None
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def chunks(self, sizes: Iterable[int]) -> Iterator[bytes]:
        """All of them, in pieces of these sizes.

        Raises:
            StoreError: they are fewer, or others, than they must be; before the last piece is given.
        """
        left = self._size
        for size in sizes:
            chunk = self._source.ask(lambda: read_fully(self._body, size), self._key)  # noqa: B023 - asked at once
            left -= len(chunk)
            self._sha256.update(chunk)
            self._md5.update(chunk)
            if self._said:
                self._said.update(chunk)
            if len(chunk) < size:
                raise StoreError(f"{self._source.place}: the object ends {size - len(chunk):,} bytes early")
            if not left:
                self._judge()
            yield chunk

    def digest(self) -> str:
        """Of what went through."""
        return f"sha256:{self._sha256.hexdigest()}"

    def md5(self) -> str:
        """Of what went through."""
        return self._md5.hexdigest()

    def _judge(self) -> None:
        if self._said and not self._said.matches():
            raise StoreError(
                f"{self._source.place}: the store gives other bytes than it should",
                remedy="see whether the object is damaged there",
            )


def parts_digest(parts: list[int], etag: str) -> str:
    """See `Digest`."""
    even = all(size == parts[0] for size in parts[:-1]) and parts[-1] <= parts[0]
    return f"parts:{parts[0] if even else ','.join(map(str, parts))}:{etag}"


def said(etag: str, answer: Mapping[str, Any], parts: list[int]) -> str:
    """What the source says of an object's bytes, see `Digest`; empty: nothing that can be held against them."""
    if not is_md5(answer):
        return ""
    if "-" in etag:
        return parts_digest(parts, etag) if parts else ""
    return f"md5:{etag}"


def read_fully(body: Any, size: int) -> bytes:
    """So many bytes of a stream, or what is left of it."""
    chunks = []
    while size and (chunk := body.read(size)):
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
