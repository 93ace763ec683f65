"""Finds out what a server can hold, by trying: products and versions differ, and some drop what they do not know."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from backup_orchestration.core.errors import StoreError
from backup_orchestration.providers.mirror.answers import Attributes, headers_of, metadata_of, tags_of
from backup_orchestration.providers.mirror.copying import Means
from backup_orchestration.stores.bucket import Reached

_BODY = b"What this server can hold is tried with this object."
_TYPE, _METADATA, _TAGS = "application/x-homelab-trial", {"homelab-trial": "1"}, {"homelab-trial": "1"}


def tried(destination: Reached, prefix: str, beside: str | None) -> Means:
    """Put, copy, read and remove a few small objects below a prefix; what cannot be told here stays as it is.

    Args:
        destination: the bucket.
        prefix: ends with a slash; nothing else is below it.
        beside: a key of the source that stands beside longer ones, `a` beside `a/b`; None: there is none.

    Raises:
        StoreError: the store cannot be written; it loses content type or metadata; or it cannot hold `beside`.
    """
    trial = _Trial(destination, prefix)
    try:
        trial.put("object", Body=_BODY, ContentType=_TYPE, Metadata=_METADATA)
        trial.copy("object", "copy")
        own = {added for name in ("object", "copy") for added in trial.require_attributes(name)}
        md5 = trial.head("copy")["ETag"].strip('"') == hashlib.md5(_BODY, usedforsecurity=False).hexdigest()
        tags, counts = trial.tags()
        replaces = trial.replaces(tags=tags)
        if beside is not None:
            trial.require_beside(beside)
    finally:
        trial.clear()
    return Means(md5=md5, replaces=replaces, tags=tags, counts_tags=counts, own=tuple(sorted(own)))


class _Trial:
    def __init__(self, destination: Reached, prefix: str) -> None:
        self._bucket, self._prefix = destination, prefix
        self._made: list[str] = []

    def put(self, name: str, **arguments: Any) -> None:
        self._ask("put_object", name, **arguments)
        self._made.append(name)

    def copy(self, name: str, to: str, **arguments: Any) -> None:
        source = {"Bucket": self._bucket.place.bucket, "Key": self._prefix + name}
        self._ask("copy_object", to, CopySource=source, **arguments)
        self._made.append(to)

    def head(self, name: str) -> Any:
        return self._ask("head_object", name)

    def require_attributes(self, name: str) -> set[str]:
        """Returns the names of metadata that the server has added."""
        found = self.head(name)
        metadata = metadata_of(found)
        if headers_of(found).get("ContentType") != _TYPE or not _METADATA.items() <= metadata.items():
            raise StoreError(
                f"{self._bucket.place}: the store loses the content type or the metadata of what it is given",
                remedy="choose a destination whose server keeps them",
            )
        return metadata.keys() - _METADATA

    def tags(self) -> tuple[bool, bool]:
        """Whether it keeps tags, and counts them when it is asked for the object."""
        try:
            self.put("tagged", Body=_BODY, Tagging="homelab-trial=1")
            found = self._ask("get_object_tagging", "tagged").get("TagSet", ())
        except StoreError:
            return False, False
        kept = {item["Key"]: item["Value"] for item in found} == _TAGS
        headers = self.head("tagged")["ResponseMetadata"]["HTTPHeaders"]
        return kept, headers.get("x-amz-tagging-count") == "1"

    def replaces(self, *, tags: bool) -> bool:
        """Whether a copy gets the content type, metadata and tags that it is told, and none of its source's."""
        told = Attributes({"ContentType": f"{_TYPE}-2"}, {"homelab-other": "2"}, {"homelab-other": "2"} if tags else {})
        name = "tagged" if tags else "object"
        try:
            self.copy(name, "replaced", **told.replacing(tags=tags))
            found = self.head("replaced")
            kept = tags_of(self._bucket, self._prefix + "replaced", found, counts=not tags)
        except StoreError:
            return False
        metadata = metadata_of(found)
        same = told.metadata.items() <= metadata.items() and not metadata.keys() & _METADATA.keys()
        return same and headers_of(found).get("ContentType") == f"{_TYPE}-2" and kept == told.tags

    def require_beside(self, key: str) -> None:
        try:
            for name in ("a", "a/b"):
                self.put(name, Body=name.encode())
            held = [self._read(name) for name in ("a", "a/b")] == [b"a", b"a/b"]
        except StoreError:
            held = False
        if not held:
            raise StoreError(
                f"{self._bucket.place}: the store cannot hold {key!r} beside {f'{key}/'!r}…",
                remedy="choose a destination whose server can",
            )

    def clear(self) -> None:
        for name in reversed(self._made):
            self._ask("delete_object", name)

    def _read(self, name: str) -> bytes:
        answer = self._ask("get_object", name)
        return bytes(self._bucket.ask(answer["Body"].read, name))

    def _ask(self, call: str, name: str, **arguments: Any) -> Any:
        asked: Callable[..., Any] = getattr(self._bucket.client, call)
        where = {"Bucket": self._bucket.place.bucket, "Key": self._prefix + name}
        try:
            return self._bucket.ask(lambda: asked(**where, **arguments), name)
        except KeyError:
            raise StoreError(
                f"{self._bucket.place}: the store does not have the bucket, or loses what is put into it",
                remedy="make the bucket",
            ) from None
