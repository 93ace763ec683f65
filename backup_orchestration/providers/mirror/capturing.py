"""Takes one snapshot of a bucket: lists, copies, lists again, writes the manifest, and reads the copy back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from backup_orchestration.core import object_manifest
from backup_orchestration.core.errors import SourceError, StoreError, ToolLiedError
from backup_orchestration.core.object_manifest import Entry
from backup_orchestration.core.progress import Progress, Update
from backup_orchestration.core.sources import Bucket
from backup_orchestration.providers.mirror.copying import Copied, Means, Missed, Task, copy_all
from backup_orchestration.providers.mirror.index import Index
from backup_orchestration.providers.mirror.layout import DATA, LONG, TRIAL, name_of
from backup_orchestration.providers.mirror.source import etag_of, knows_tags, list_after, list_before, read_only_trouble
from backup_orchestration.providers.mirror.trial import tried
from backup_orchestration.stores.bucket import Reached

_TOLD_EVERY = 200


@dataclass(frozen=True)
class Captured:
    """What was copied.

    Attributes:
        manifest_sha256: of the manifest that was stored.
        objects, bytes: how many there are, and their size.
        changed, deleted: between the listing and the copy.
        own: names of metadata that the destination's server adds to copies.
    """

    manifest_sha256: str
    objects: int
    bytes: int
    changed: int
    deleted: int
    own: tuple[str, ...]


class Capture:
    """One run.

    Args:
        source: as declared, and reached.
        destination: the prefix of the new snapshot; nothing is below it.
        index: empty.
        scratch: private directory.
    """

    def __init__(
        self, declared: Bucket, source: Reached, destination: Reached, index: Index, scratch: Path, progress: Progress
    ) -> None:
        self._declared, self._source, self._destination = declared, source, destination
        self._index, self._scratch, self._progress = index, scratch, progress
        self._prefix = destination.key("")
        self._changed = self._deleted = 0

    def run(self, before: int | None, started: datetime) -> Captured:
        """Copy everything and store its manifest.

        Args:
            before: how many objects the newest snapshot holds; None: there is none.
            started: when the run began; nothing of the source may be older and unlisted.

        Raises:
            SourceError: the source cannot be read, has shrunk, or changes faster than it is copied.
            StoreError: a server cannot be read or written, or cannot hold what the source holds; names the key.
            ToolLiedError: what the destination lists afterwards is not what was copied.
        """
        self._progress(Update("list"))
        count = list_before(self._source, self._declared, self._index, before)
        self._progress(Update("trial"))
        means = tried(self._destination, self._prefix + TRIAL, self._index.beside())
        self._copy(self._with_source(means), count)
        self._progress(Update("list again"))
        list_after(self._source, self._declared, self._index, started)
        self._read_back()
        objects, size = self._index.totals()
        if not objects:
            raise SourceError(f"{self._declared.summary}: every object was deleted while it was copied")
        self._progress(Update("manifest"))
        return Captured(self._store_manifest(), objects, size, self._changed, self._deleted, means.own)

    def _with_source(self, means: Means) -> Means:
        """What the source's server says of itself besides, and whether it is the destination's too."""
        key, _, _ = next(iter(self._index.wanted()))
        with read_only_trouble(self._source):
            known = replace(means, source_tags=knows_tags(self._source, key))
        if self._source.place.endpoint != self._destination.place.endpoint:
            return replace(known, counts_tags=False)
        asked = {"Bucket": self._source.place.bucket, "Key": key}
        try:
            self._destination.ask(lambda: self._destination.client.head_object(**asked), key)
        except (KeyError, StoreError):  # its keys do not open the source
            return known
        return replace(known, on_server=True)

    def _copy(self, means: Means, count: int) -> None:
        self._progress(Update("copy"))
        tasks = (self._task(key, size, etag) for key, size, etag in self._index.wanted())
        missed = self._pass(tasks, means, count)
        again = []
        for task in missed:
            with read_only_trouble(self._source):
                now = etag_of(self._source, task.key)
            if now is None:
                self._deleted += 1
            else:
                again.append(self._task(task.key, now[1], now[0]))
        self._changed += len(again)
        if still := self._pass(again, means, count):
            raise SourceError(
                f"{still[0].key!r} changed twice while it was copied, and {len(still) - 1} more",
                remedy="take the backup when less is written",
            )

    def _pass(self, tasks: Iterable[Task], means: Means, count: int) -> list[Task]:
        """Copy and write down; returns what was missed."""
        missed: list[Task] = []
        found = copy_all(self._source, self._destination, tasks, means)
        for number, item in enumerate(found):
            if isinstance(item, Missed):
                missed.append(item.task)
            else:
                self._index.add(self._entry(item))
            if number % _TOLD_EVERY == 0:
                self._progress(Update("copy", min(number / count, 1.0)))
        return missed

    def _task(self, key: str, size: int, etag: str) -> Task:
        return Task(key, self._prefix + name_of(key, self._prefix), size, etag)

    def _entry(self, copied: Copied) -> Entry:
        task, attributes = copied.task, copied.attributes
        return Entry(
            key=task.key,
            name=task.to[len(self._prefix) :],
            size=task.size,
            digest=copied.digest,
            etag=task.etag,
            stored_etag=copied.etag,
            headers=attributes.headers,
            metadata=attributes.metadata,
            tags=attributes.tags,
        )

    def _read_back(self) -> None:
        self._progress(Update("read back"))
        for part in (DATA, LONG):
            fill_stored(self._index, self._destination, part)
        for what, keys in (
            ("was copied and is not listed", self._index.missing()),
            ("is listed with another size or ETag than was copied", self._index.different()),
            ("is listed and was not copied: the store keeps another key under that name", self._index.strangers()),
        ):
            if keys:
                raise ToolLiedError(f"{self._destination.place}: {keys[0]!r} {what}")

    def _store_manifest(self) -> str:
        path = self._scratch / object_manifest.FILENAME
        object_manifest.write(path, self._index.lines())
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        where = (self._destination.place.bucket, self._destination.key(object_manifest.FILENAME))
        try:
            self._destination.ask(lambda: self._destination.client.upload_file(str(path), *where), where[1])
        except KeyError:
            raise StoreError(f"{self._destination.place}: there is no such bucket", remedy="make the bucket") from None
        return digest


def fill_stored(index: Index, destination: Reached, part: str) -> None:
    """Write down what a snapshot's prefix holds, by the names below it.

    Raises:
        StoreError: it cannot be listed.
    """
    cut = len(destination.key(""))
    found = (replace(item, key=item.key[cut:]) for item in destination.listed(destination.key(part)))
    try:
        index.fill("stored", found)
    except KeyError:
        raise StoreError(f"{destination.place}: there is no such bucket", remedy="see who removed it") from None
