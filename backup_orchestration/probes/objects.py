"""`objects`: what came back of a bucket is what its manifest says: keys, bytes, content type, metadata and tags."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from backup_orchestration.core import object_manifest
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.frozen import Frozen
from backup_orchestration.core.object_manifest import Digest, Entry, file_of
from backup_orchestration.probes.base import Finding, ProbeKind, Restored

_CHUNK = 1 << 20
_SHOWN = 3
_DAY = 86400


class ObjectsOptions(Frozen):
    """Options.

    Attributes:
        share: of the objects whose bytes are read again in one test, above 0 and at most 1; another part each day, so
            that all are read in 1 / `share` days. The restore holds every byte against the manifest all the same.
        min_objects: fewer are refused.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_objects: Annotated[int, Field(ge=0)] = 0


class ObjectsProbe(ProbeKind[ObjectsOptions]):
    """See the module."""

    name: ClassVar[str] = "objects"
    sources: ClassVar[tuple[str, ...]] = ("bucket",)
    options: ClassVar[type[Frozen]] = ObjectsOptions

    def check(self, restored: Restored, options: ObjectsOptions) -> Finding:
        """See `ProbeKind`."""
        turns = round(1 / options.share)
        turn = _turn(restored.started_at, turns)
        count = size = read = 0
        faults: list[str] = []
        for wanted, came in _pairs(restored):
            count, size = count + 1, size + wanted.size
            faults += (f"{wanted.key!r} {what}" for what in _attributes(wanted, came))
            if _turn_of(wanted.key, turns) == turn:
                read += 1
                faults += (f"{wanted.key!r} {what}" for what in _bytes(wanted, restored))
        counted = restored.snapshot.counts
        for what, found in (("objects", count), ("bytes", size)):
            if counted.get(what) != found:
                faults.append(f"{found:,} {what} in the manifest, {counted.get(what, 0):,} were counted")
        if count < options.min_objects:
            faults.append(f"{count:,} objects, at least {options.min_objects:,} are wanted")
        if faults:
            more = f" and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
            raise ProbeFailedError("; ".join(faults[:_SHOWN]) + more)
        said = f"{count:,} objects, {size:,} bytes"
        if turns > 1:
            said = f"sampled: {said}; the bytes of {read:,} read again, part {turn + 1} of {turns}"
        return Finding(said, {"objects": count, "bytes": size, "objects_read": read})


def _pairs(restored: Restored) -> Iterator[tuple[Entry, Entry]]:
    """What was captured, and what came back of it; both are sorted by key."""
    paths = [restored.within(restored.root / name) for name in (object_manifest.FILENAME, object_manifest.CAME_BACK)]
    try:
        for wanted, came in zip_longest(*map(object_manifest.read, paths)):
            if wanted is None or came is None or wanted.key != came.key:
                raise ProbeFailedError(f"{(wanted or came).key!r} stands in one list only")
            yield wanted, came
    except (OSError, ValueError) as error:
        raise ProbeFailedError(f"the lists cannot be read: {error}") from error


def _attributes(wanted: Entry, came: Entry) -> Iterator[str]:
    for what in ("headers", "metadata", "tags"):
        before, now = getattr(wanted, what), getattr(came, what)
        names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if names:
            yield f"has other {what}: {names[0]!r} is {now.get(names[0])!r}, it was {before.get(names[0])!r}"


def _bytes(wanted: Entry, restored: Restored) -> Iterator[str]:
    path = restored.within(file_of(restored.root, wanted.key))
    if not path.is_file():
        yield "is missing"
    elif path.stat().st_size != wanted.size:
        yield f"has {path.stat().st_size:,} bytes, it had {wanted.size:,}"
    elif not _matches(path, wanted.digest):
        yield "has other bytes than were captured"


def _matches(path: Path, wanted: str) -> bool:
    digest = Digest(wanted)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.matches()


def _turn(day: datetime, turns: int) -> int:
    return int(day.timestamp() // _DAY) % turns


def _turn_of(key: str, turns: int) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % turns
