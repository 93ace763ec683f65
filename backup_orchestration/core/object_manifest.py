"""What a mirrored bucket held: one line of JSON for each object, sorted by key, compressed.

A restore puts two of them beside the objects: what was captured, and what came back. The probe `objects` compares them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILENAME = "manifest.jsonl.gz"
CAME_BACK = "came-back.jsonl.gz"
# A key has 1,024 bytes at most, metadata 2 KiB, and there are ten tags; ASCII makes up to six of each.
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One object.

    Attributes:
        key: at the source, byte for byte.
        name: where it is kept, below the snapshot's prefix.
        size: in bytes.
        digest: what its bytes are held against, see `Digest`.
        etag: at the source, pinned while it was copied.
        stored_etag: of the copy, as its store said.
        headers: content type and its like, by the S3 API's names, e.g. `ContentType`.
        metadata: user metadata; names in lower case, as HTTP does not tell them apart.
        tags: by name.
    """

    key: str
    name: str
    size: int
    digest: str
    etag: str = ""
    stored_etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """As it stands in a manifest."""
        return json.dumps(asdict(self), ensure_ascii=True, separators=(",", ":"), sort_keys=True)


def write(path: Path, lines: Iterable[str]) -> None:
    """Write a manifest of lines that `Entry.line` gave, sorted by key."""
    with gzip.GzipFile(path, "wb", compresslevel=3, mtime=0) as out:
        out.writelines(f"{line}\n".encode() for line in lines)


def read(path: Path) -> Iterator[Entry]:
    """The entries of a manifest, as a stream.

    Raises:
        ValueError: it is damaged, or none; what was given until then may be wrong too.
        OSError: it cannot be read.
    """
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                yield Entry(**json.loads(line))
    except (EOFError, TypeError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name} is no manifest: {error}") from error


def file_of(root: Path, key: str) -> Path:
    """Where an object's bytes stand after a restore: keys are no file names, their hashes are."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return root / "objects" / digest[:2] / digest


class Digest:
    """Holds bytes against what a manifest says of them.

    Args:
        text: `sha256:HEX`; `md5:HEX`, the ETag of an object that was put whole; or `parts:SIZES:HEX-N`, the ETag of one
            that was put in N parts: the MD5 of the MD5s of its parts. SIZES are the bytes of each, by commas; the last
            one stands for all that follow.

    Raises:
        ValueError: it is none of these.
    """

    def __init__(self, text: str) -> None:
        kind, _, self._wanted = text.partition(":")
        self._sizes: list[int] = []
        if kind == "parts":
            sizes, _, self._wanted = self._wanted.partition(":")
            self._sizes = [int(size) for size in sizes.split(",")]
        if kind not in ("sha256", "md5", "parts") or any(size <= 0 for size in self._sizes):
            raise ValueError(f"{text!r} is no digest")
        self._hash = hashlib.sha256() if kind == "sha256" else hashlib.md5(usedforsecurity=False)
        self._filled = 0
        self._parts: list[bytes] = []

    def update(self, data: bytes) -> None:
        """Add the next bytes."""
        if not self._sizes:
            self._hash.update(data)
            return
        view = memoryview(data)
        while view:
            part = self._sizes[min(len(self._parts), len(self._sizes) - 1)]
            taken = view[: part - self._filled]
            self._hash.update(taken)
            self._filled += len(taken)
            view = view[len(taken) :]
            if self._filled == part:
                self._end_part()

    def matches(self) -> bool:
        """Whether they are those that were captured; ends it."""
        if self._sizes:
            if self._filled:
                self._end_part()
            together = hashlib.md5(b"".join(self._parts), usedforsecurity=False).hexdigest()
            return f"{together}-{len(self._parts)}" == self._wanted
        return self._hash.hexdigest() == self._wanted

    def _end_part(self) -> None:
        self._parts.append(self._hash.digest())
        self._hash = hashlib.md5(usedforsecurity=False)
        self._filled = 0
