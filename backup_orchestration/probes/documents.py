"""`documents`: a Meilisearch dump holds every index with as many documents as were counted around it.

A dump is a gzipped tar with `indexes/<uid>/documents.jsonl` (Meilisearch's dump format v6). The counts lie
beside it in `counts.json`, written by the export: before the dump and after it. An index that is written meanwhile may
have any number between the two.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, ClassVar

from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.probes.base import Finding, NoOptions, ProbeKind, Restored

COUNTS = "counts.json"
_DOCUMENTS = "documents.jsonl"
_COUNTS_BYTES = 16 << 20
# Meilisearch takes 100 MB at once unless told otherwise, so no document is longer.
_DOCUMENT_BYTES = 100 << 20
# What tarfile reads whole besides: headers of a few kilobytes.
_AT_ONCE_BYTES = 1 << 20


class DocumentsProbe(ProbeKind[NoOptions]):
    """See the module."""

    name: ClassVar[str] = "documents"
    sources: ClassVar[tuple[str, ...]] = ("export",)

    def check(self, restored: Restored, options: NoOptions) -> Finding:
        """See `ProbeKind`."""
        del options
        manifest = restored.manifest_path()
        assert manifest is not None  # noqa: S101 - only a dump has none
        directory = restored.within(manifest.parent / "export")
        try:
            counts = json.loads(restored.read(directory / COUNTS, _COUNTS_BYTES))
            before, after = counts["before"], counts["after"]
            dumps = sorted(directory.glob("*.dump"))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ProbeFailedError(f"{COUNTS} cannot be read: {error}") from error
        if len(dumps) != 1:
            raise ProbeFailedError(f"there are {len(dumps)} dumps; it should be one")
        found = _count(restored.within(dumps[0]))
        for index in sorted({*before, *after}):
            least, most = sorted((before.get(index, 0), after.get(index, 0)))
            if not least <= found.get(index, 0) <= most or (index in before and index in after and index not in found):
                counted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
                raise ProbeFailedError(f"index {index} has {found.get(index, 0):,} documents, {counted} were counted")
        total = sum(found.values())
        return Finding(f"{len(found)} indexes, {total:,} documents", {"indexes": len(found), "documents": total})


class _Unpacked(gzip.GzipFile):
    """What a small file unpacks to may fill any memory: little of it is handed out at once."""

    def read(self, size: int | None = -1) -> bytes:
        """See `gzip.GzipFile`."""
        if size is None or not 0 <= size <= _AT_ONCE_BYTES:
            raise tarfile.ReadError("it holds a header that is too long")
        return super().read(size)


def _count(dump: Path) -> dict[str, int]:
    """Documents of each index; every one of them must be a JSON object. Nothing is unpacked to disk."""
    found: dict[str, int] = {}
    try:
        with _Unpacked(dump) as content, tarfile.open(fileobj=content, mode="r:") as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # it would remember every member until the end
                parts = Path(member.name).parts
                if len(parts) > 1 and parts[-1] == _DOCUMENTS and member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None  # noqa: S101 - it is a file
                    found[parts[-2]] = sum(_is_document(line, member.name) for line in _lines(file))
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise ProbeFailedError(f"{dump.name} is no Meilisearch dump: {error}") from error
    return found


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_DOCUMENT_BYTES):
        if len(line) == _DOCUMENT_BYTES:
            raise ProbeFailedError(f"a document is longer than {_DOCUMENT_BYTES:,} bytes")
        yield line


def _is_document(line: bytes, name: str) -> bool:
    if not line.strip():
        return False
    if not isinstance(json.loads(line), dict):
        raise ProbeFailedError(f"{name} holds something that is no document")
    return True
