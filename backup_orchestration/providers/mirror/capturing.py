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
from backup_orchestration.providers.mirror.made import Made
from backup_orchestration.providers.mirror.mc import McMirror
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
        by_mc: those that mc copied, and whose copies held; None: it was not asked.
    """

    manifest_sha256: str
    objects: int
    bytes: int
    changed: int
    deleted: int
    own: tuple[str, ...]
    by_mc: int | None = None


class Capture:
    """One run.

    Args:
        source: as declared, and reached.
        destination: the prefix of the new snapshot; nothing is below it.
        index: empty.
        scratch: private directory.
        mc: copies first; what it made counts if it holds. None: it is not asked.
    """

    def __init__(
        self,
        declared: Bucket,
        source: Reached,
        destination: Reached,
        index: Index,
        scratch: Path,
        progress: Progress,
        mc: McMirror | None = None,
    ) -> None:
        self._declared, self._source, self._destination = declared, source, destination
        self._index, self._scratch, self._progress = index, scratch, progress
        self._prefix = destination.key("")
        self._changed = self._deleted = self._by_mc = 0
        self._left = ""
        self._mc = mc

    def run(self, before: int | None, started: datetime) -> Captured:
        """Copy everything and store its manifest.

        Args:
            before: how many objects the newest snapshot holds; None: there is none.
            started: when the run began; nothing of the source may be older and unlisted.

        Raises:
            SourceError: the source cannot be read, has shrunk, or changes faster than it is copied.
            StoreError: a server cannot be read or written, or cannot hold what the source holds; names the key.
            ToolLiedError: what the destination lists afterwards is not what was copied, or what mc made has other
                bytes; names the key.
            ToolError: mc could not be used.
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
        by_mc = self._by_mc if self._mc else None
        return Captured(self._store_manifest(), objects, size, self._changed, self._deleted, means.own, by_mc)

    def _with_source(self, means: Means) -> Means:
        """What the source's server says of itself besides, and whether it is the destination's too."""
        key = next(iter(self._index.wanted()))[0]
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
        error = self._let_mc_copy(self._mc, means) if self._mc else ""
        tasks = (self._task(*wanted) for wanted in self._index.wanted())
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
        if self._mc:
            self._tell_what_mc_left(error)

    def _let_mc_copy(self, mc: McMirror, means: Means) -> str:
        """Let it copy what it can, and remove what it made of no object; returns its first error."""
        error, there = mc.copy(on_server=means.on_server), self._destination
        wrong = made = fill_stored(self._index, there, DATA, "made")
        for name in self._index.unwanted():
            key = there.key(name)
            there.ask(lambda: there.client.delete_object(Bucket=there.place.bucket, Key=key), name)  # noqa: B023
            wrong -= 1
        if not wrong:
            raise ToolLiedError(
                f"mc was to copy {self._declared.summary}, and {f'made {made:,} others' if made else 'made nothing'}"
                + (f": {error}" if error else ""),
                remedy='see what is wrong with mc, or take engine="mc" out of the policy\'s source',
            )
        return error

    def _tell_what_mc_left(self, error: str) -> None:
        objects, _ = self._index.totals()
        left = f"; the others were copied here, the first is {self._left!r}" if self._left else ""
        because = f"; mc said: {error}" if error else ""
        self._progress(Update("copy", message=f"mc copied {self._by_mc:,} of {objects:,} objects{left}{because}"))

    def _pass(self, tasks: Iterable[Task], means: Means, count: int) -> list[Task]:
        """Copy and write down; returns what was missed."""
        missed: list[Task] = []
        judge = Made("mc", self._destination, means).judge if self._mc else None
        found = copy_all(self._source, self._destination, tasks, means, judge=judge)
        for number, item in enumerate(found):
            if isinstance(item, Missed):
                missed.append(item.task)
            else:
                self._index.add(self._entry(item))
                self._by_mc += item.made
                self._left = self._left or ("" if item.made else item.task.key)
            if number % _TOLD_EVERY == 0:
                self._progress(Update("copy", min(number / count, 1.0)))
        return missed

    def _task(self, key: str, size: int, etag: str, made: bool = False) -> Task:
        return Task(key, self._prefix + name_of(key, self._prefix), size, etag, made=made)

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


def fill_stored(index: Index, destination: Reached, part: str, table: str = "stored") -> int:
    """Write down what a snapshot's prefix holds, by the names below it; returns how many there are.

    Raises:
        StoreError: it cannot be listed.
    """
    cut = len(destination.key(""))
    found = (replace(item, key=item.key[cut:]) for item in destination.listed(destination.key(part)))
    try:
        return index.fill(table, found)
    except KeyError:
        raise StoreError(f"{destination.place}: there is no such bucket", remedy="see who removed it") from None
