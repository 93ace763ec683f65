"""Brings a snapshot of a bucket back: into a directory, or into a bucket. Every byte is held against the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from backup_orchestration.core import object_manifest
from backup_orchestration.core.errors import RestoreFailedError
from backup_orchestration.core.object_manifest import Digest, Entry, file_of
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.providers.capture import naming_a_full_disk
from backup_orchestration.providers.mirror import index as indexes
from backup_orchestration.providers.mirror.answers import Attributes, headers_of, metadata_of, tags_of
from backup_orchestration.providers.mirror.at_once import in_order
from backup_orchestration.providers.mirror.capturing import fill_stored
from backup_orchestration.providers.mirror.copying import Missed, Task, copy_all
from backup_orchestration.providers.mirror.layout import DATA, LONG, Complete
from backup_orchestration.providers.mirror.trial import tried
from backup_orchestration.stores.bucket import Reached

_CHUNK = 1 << 20
_SHOWN = 5
_TOLD_EVERY = 200


@dataclass(frozen=True, slots=True)
class _Back:
    """One object that came back: what came with it, or what is wrong."""

    entry: Entry
    fault: str = ""


class Restoring:
    """One snapshot to be restored.

    Args:
        stored: its prefix.
        complete: what its COMPLETE says.
        scratch: private directory.
    """

    def __init__(self, stored: Reached, complete: Complete, scratch: Path, progress: Progress = silent) -> None:
        self._stored, self._complete, self._scratch, self._progress = stored, complete, scratch, progress

    def to_directory(self, root: Path) -> int:
        """Fetch everything, by `object_manifest.file_of`; returns the bytes that were read.

        What came back with the objects is written down beside the manifest, for the probe to compare.

        Raises:
            RestoreFailedError: an object is missing, too many, or has other bytes than were captured.
            StoreError: the store does not answer.
        """
        manifest = self.manifest(root)
        self._require_the_same_names(manifest)
        faults: list[str] = []
        size = 0

        def lines() -> Iterator[str]:
            nonlocal size
            found = in_order(lambda entry: self._fetch(entry, root), object_manifest.read(manifest))
            for number, back in enumerate(found):
                if number % _TOLD_EVERY == 0:
                    self._progress(Update("restore", min(number / max(self._complete.objects, 1), 1.0)))
                if back.fault:
                    faults.append(f"{back.entry.key!r} {back.fault}")
                size += back.entry.size
                yield back.entry.line()

        with naming_a_full_disk(root):
            object_manifest.write(root / object_manifest.CAME_BACK, lines())
        self._judge(faults)
        return size

    def to_bucket(self, target: Reached, workers: int) -> int:
        """Put everything into a bucket, each object under its own key below the target's prefix; returns how many.

        What the bucket holds already stays, unless it has the same key.

        Raises:
            RestoreFailedError: as `to_directory`.
            StoreError: a store does not answer, or cannot hold a key.
        """
        manifest = self.manifest(self._scratch)
        self._require_the_same_names(manifest)
        means = tried(target, target.key(f"homelab-trial-{self._complete.key}/"), None)
        count = 0
        for item in copy_all(self._stored, target, self._tasks(manifest, target), means, workers):
            if isinstance(item, Missed):
                raise RestoreFailedError(f"{item.task.key!r} is not stored as it was")
            count += 1
        return count

    def manifest(self, directory: Path) -> Path:
        """Fetch the manifest that COMPLETE binds.

        Raises:
            RestoreFailedError: it is missing, or another one.
        """
        path, digest = directory / object_manifest.FILENAME, hashlib.sha256()
        key = self._stored.key(object_manifest.FILENAME)
        bucket = self._stored.place.bucket
        try:
            answer = self._stored.ask(lambda: self._stored.client.get_object(Bucket=bucket, Key=key), key)
        except KeyError:
            raise RestoreFailedError(f"{self._complete.key}: its manifest is missing") from None
        with naming_a_full_disk(directory), closing(answer["Body"]) as body, path.open("wb") as file:
            while chunk := self._stored.ask(lambda: body.read(_CHUNK), key):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != self._complete.manifest_sha256:
            raise RestoreFailedError(f"{self._complete.key}: its manifest is not the one that was written")
        return path

    def _tasks(self, manifest: Path, target: Reached) -> Iterator[Task]:
        for entry in object_manifest.read(manifest):
            attributes = Attributes(entry.headers, entry.metadata, entry.tags)
            key, to = self._stored.key(entry.name), target.key(entry.key)
            yield Task(key, to, entry.size, entry.stored_etag, entry.digest, attributes)

    def _require_the_same_names(self, manifest: Path) -> None:
        """Raises RestoreFailedError: the prefix holds other names than the manifest."""
        with indexes.opened(self._scratch / "restore.sqlite") as index:
            for entry in object_manifest.read(manifest):
                index.add(entry)
            for part in (DATA, LONG):
                fill_stored(index, self._stored, part)
            self._judge(
                [f"{key!r} is missing" for key in index.missing()]
                + [f"{name!r} is there and was not captured" for name in index.strangers()]
            )

    def _fetch(self, entry: Entry, root: Path) -> _Back:
        key, bucket = self._stored.key(entry.name), self._stored.place.bucket
        path = file_of(root, entry.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            answer = self._stored.ask(lambda: self._stored.client.get_object(Bucket=bucket, Key=key), entry.key)
            tags = tags_of(self._stored, key, answer, counts=not entry.tags)
        except KeyError:
            return _Back(entry, "is missing")
        digest, size, own = Digest(entry.digest), 0, self._complete.own_metadata
        with closing(answer["Body"]) as body, path.open("wb") as file:
            while chunk := self._stored.ask(lambda: body.read(_CHUNK), entry.key):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        back = replace(entry, size=size, headers=headers_of(answer), metadata=metadata_of(answer, own), tags=tags)
        if size != entry.size:
            return _Back(back, f"has {size:,} bytes, it had {entry.size:,}")
        return _Back(back, "" if digest.matches() else "has other bytes than were captured")

    def _judge(self, faults: list[str]) -> None:
        if faults:
            more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            raise RestoreFailedError(f"{'; '.join(faults[:_SHOWN])}{more}")
