"""`documents`: a Meilisearch dump holds every index with as many documents as were counted around it.

A dump is a gzipped tar with `indexes/<uid>/documents.jsonl` (Meilisearch's dump format v6). The counts lie
beside it in `counts.json`, written by the export: before the dump and after it. An index that is written meanwhile may
have any number between the two.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import ClassVar

from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.probes.base import Finding, NoOptions, ProbeKind, Restored

COUNTS = "counts.json"
_DOCUMENTS = "documents.jsonl"


class DocumentsProbe(ProbeKind[NoOptions]):
    """See the module."""

    name: ClassVar[str] = "documents"
    sources: ClassVar[tuple[str, ...]] = ("export",)

    def check(self, restored: Restored, options: NoOptions) -> Finding:
        """See `ProbeKind`."""
        del options
        manifest = restored.manifest_path()
        assert manifest is not None  # noqa: S101 - only a dump has none
        directory = manifest.parent / "export"
        try:
            counts = json.loads((directory / COUNTS).read_text(encoding="utf-8"))
            before, after = counts["before"], counts["after"]
            dumps = sorted(directory.glob("*.dump"))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ProbeFailedError(f"{COUNTS} cannot be read: {error}") from error
        if len(dumps) != 1:
            raise ProbeFailedError(f"there are {len(dumps)} dumps; it should be one")
        found = _count(dumps[0])
        for index in sorted({*before, *after}):
            least, most = sorted((before.get(index, 0), after.get(index, 0)))
            if not least <= found.get(index, 0) <= most or (index in before and index in after and index not in found):
                counted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
                raise ProbeFailedError(f"index {index} has {found.get(index, 0):,} documents, {counted} were counted")
        total = sum(found.values())
        return Finding(f"{len(found)} indexes, {total:,} documents", {"indexes": len(found), "documents": total})


def _count(dump: Path) -> dict[str, int]:
    """Documents of each index; every one of them must be a JSON object. Nothing is unpacked to disk."""
    found: dict[str, int] = {}
    try:
        with tarfile.open(dump, "r:gz") as archive:
            for member in archive:
                parts = Path(member.name).parts
                if parts[-1:] != (_DOCUMENTS,) or not member.isfile():
                    continue
                lines = archive.extractfile(member)
                assert lines is not None  # noqa: S101 - it is a file
                documents = [json.loads(line) for line in lines if line.strip()]
                if not all(isinstance(document, dict) for document in documents):
                    raise ProbeFailedError(f"{member.name} holds something that is no document")
                found[parts[-2]] = len(documents)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ProbeFailedError(f"{dump.name} is no Meilisearch dump: {error}") from error
    return found
