"""pgBackRest: physical backups of a whole PostgreSQL cluster, and its WAL as it is written.

One repository for each target, `<location>/pgbackrest-<service>-<name>`, with one stanza, encrypted with the
destination's password. Snapshots carry the annotations `target`, `run_id` and `repository`; what exists is what
`info` lists with them, and what was just made is found by its run id, never by "latest".

Right before a backup a row is written into the cluster itself, `homelab.canary`: it must be there after a restore,
and brings back what the probes wanted remembered.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from backup_orchestration.core import tools
from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import (
    HomelabError,
    NotCoveredError,
    RepositoryMissingError,
    RepositoryVanishedError,
    SettingsError,
    SourceError,
    ToolLiedError,
    UnknownSnapshotError,
)
from backup_orchestration.core.places import Bucket, Directory, Place
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.postgres import PGDATA, TABLESPACES
from backup_orchestration.core.progress import Progress, Update
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.core.snapshot import Snapshot, rfc3339
from backup_orchestration.core.sources import Postgres
from backup_orchestration.providers import _cluster, _pgbackrest_config
from backup_orchestration.providers._handing import directory_for, file_for, let_pass
from backup_orchestration.providers._pgbackrest_cli import PGBACKREST, PgBackRestCli
from backup_orchestration.providers._pgbackrest_prune import remove_sets, unlisted
from backup_orchestration.providers._pgbackrest_restore import archive_of, fetch_wal, restore_set
from backup_orchestration.providers._pgbackrest_sets import is_own, moment, snapshot_of
from backup_orchestration.providers.base import (
    BackupSpec,
    ByHand,
    Provider,
    PruneReport,
    Repository,
    RestoreReport,
    RestoreSpec,
    Surroundings,
    read_back_pruned,
)
from backup_orchestration.providers.capture import require_space
from backup_orchestration.stores.open import open_store

# pgBackRest compresses; the first copy takes at least about this share of what it reads.
_FIRST_COPY_SHARE = 4
# pgBackRest writes whole seconds, cut off.
_SECOND = timedelta(seconds=1)
_WAL = "wal"
_WORK = "pgbackrest"


class PgBackRest(Provider):
    """See the module."""

    name: ClassVar[str] = "pgbackrest"
    encryption: ClassVar[str] = "client"
    tools: ClassVar[tuple[tools.Requirement, ...]] = (PGBACKREST,)
    sources: ClassVar[tuple[str, ...]] = ("postgres",)

    def open(self, policy: BackupPolicy, destination: Destination, around: Surroundings) -> Repository:
        """See `Provider`."""
        return PgBackRestRepository(policy, destination, around, self.location(policy, destination))

    def location(self, policy: BackupPolicy, destination: Destination) -> Place:
        """See `Provider`."""
        place = destination.place / f"pgbackrest-{policy.slug}"
        if isinstance(place, Bucket) and not place.endpoint.startswith("https://"):
            raise SettingsError(
                f"{place.name}.endpoint: pgbackrest, which {policy.target} uses, reaches a bucket over TLS only",
                remedy="give the store a certificate and write https://, or choose another destination for it",
            )
        return place


class PgBackRestRepository(Repository):
    """The pgBackRest repository of one cluster in one destination."""

    def __init__(self, policy: BackupPolicy, destination: Destination, around: Surroundings, place: Place) -> None:
        if not isinstance(policy.source, Postgres):
            raise TypeError(f"{policy.source.kind} is no PostgreSQL cluster")
        self._policy = policy
        self._source = policy.source
        self._destination = destination
        self._around = around
        self._place = place

    @property
    def location(self) -> str:
        """See `Repository`."""
        return str(self._place)

    def archive_settings(self) -> Mapping[str, str]:
        """What the cluster's postgresql.conf must say so that its WAL comes here: name and value.

        Raises:
            ToolMissingError: pgBackRest is not here.
        """
        config = self._around.state / _pgbackrest_config.FILENAME
        return _cluster.archive_settings(tools.find(PGBACKREST).path, config, self._policy.slug)

    def backup(self, spec: BackupSpec, progress: Progress) -> Snapshot:
        """See `Repository`."""
        server = _cluster.reach(self._source)
        with self._cli() as cli:
            cluster = _cluster.examine(server, self._source, self.archive_settings())
            identity = self._open_or_create(cli, cluster, create=spec.create)
            cli.query("check")
            kind = "full" if spec.reread else self._kind(cli.info()["backup"])
            flushed = _cluster.write_canary(server, self._source.canary_database or "", spec.run_id, spec.facts())
            marks = {"target": self._policy.target, "run_id": spec.run_id, "repository": identity}
            annotations = [f"--annotation={key}={value}" for key, value in marks.items()]
            done = cli.transfer(["backup", f"--type={kind}", *annotations], _teller(progress, "backup"))
            if done.returncode != 0:
                raise cli.error(done)
            return self._read_back(cli.info(), spec.run_id, kind, flushed)

    def snapshots(self) -> Sequence[Snapshot]:
        """See `Repository`. Sets with damaged pages, and sets that others took, are not listed."""
        with self._cli() as cli:
            sets = cli.info()["backup"]
        own = (self._snapshot(item) for item in sets if is_own(item, self._policy.target) and not item.get("error"))
        return sorted(own, key=lambda item: (item.taken_at, item.snapshot_id))

    def restore(self, snapshot: Snapshot, into: RestoreSpec, progress: Progress) -> RestoreReport:
        """See `Repository`. The cluster is then at `root/pgdata`, and recovers when a server starts on it.

        The WAL that it needs for that lies beside it, held against its checksums: the server needs no network and no
        key of the repository, and that it does not come up is the data's fault.
        """
        require_space(into.directory, snapshot.size_bytes, f"restoring {snapshot.key}")
        started = time.monotonic()
        user, root = self._user(), into.directory
        # Outside `home` only what was made for this restore is ours to change.
        own = self._around.home if root.is_relative_to(self._around.home) else into.scratch or root
        let_pass(user, root, own)
        data, _, wal, work = (directory_for(user, root / name) for name in (PGDATA, TABLESPACES, _WAL, _WORK))
        try:
            with self._cli(work, {"pg1-path": str(data)}) as cli:
                held = self._set(cli, snapshot)
                files, size = restore_set(cli, snapshot, into.at, root, wal, _teller(progress, "restore"))
                read = fetch_wal(cli, held, into.at, data, wal)
        finally:
            shutil.rmtree(work)  # the repository's keys are of no use to what runs here next
        if into.witnessed:  # pgBackRest holds every file of a set against its checksum while it restores
            read += int(held["info"]["repository"].get("size", 0))
        return RestoreReport(root, files, size, time.monotonic() - started, read)

    def prune(self, plan: PrunePlan, progress: Progress) -> PruneReport:
        """See `Repository`. WAL from before the oldest full set goes too."""
        started = time.monotonic()
        with self._cli() as cli:
            remove_sets(cli, plan, progress)
        return replace(read_back_pruned(plan, self.snapshots()), seconds=time.monotonic() - started)

    def unlisted(self) -> Sequence[str]:
        """See `Repository`."""
        with self._cli() as cli:
            return unlisted(cli)

    def by_hand(self) -> ByHand:
        """See `Repository`."""
        called = f'pgbackrest --config="$PWD/pgbackrest.conf" --stanza={self._policy.slug}'
        return ByHand(
            opening=(_pgbackrest_config.writing_command(self._place, self._destination, self._around.secrets),),
            listing=f"{called} info",
            restoring=(
                "mkdir -p -m 700 restored/pgdata restored/tablespaces",
                f'{called} --set="$SNAPSHOT" --type=immediate --target-action=promote --archive-mode=off '
                '--pg1-path="$PWD/restored/pgdata" --tablespace-map-all="$PWD/restored/tablespaces" restore',
            ),
        )

    def covering(self, at: datetime) -> Snapshot:
        """See `Repository`. What is covered ends with the last transaction whose WAL is in the archive."""
        listed = self.snapshots()
        if not listed:
            raise NotCoveredError(f"{self._policy.target} has no snapshot to start from", remedy="take a backup first")
        fitting = [item for item in listed if _ended(item) <= at]
        base = fitting[-1] if fitting else listed[0]
        until = self._covered_until(base)
        if fitting and until is not None and at < until:
            return base
        raise NotCoveredError(
            f"{self._policy.target} cannot be restored to {rfc3339(at)}: from {base.key}, covered is "
            f"{rfc3339(_ended(base))} to {rfc3339(until) or 'no later moment'}",
            remedy="choose a moment in between; what is newer is covered when its WAL segment is full and archived",
        )

    def health(self) -> Sequence[str]:
        """See `Repository`."""
        try:
            return (_cluster.archiver_health(_cluster.reach(self._source)),)
        except HomelabError as error:
            return (f"WAL archiving: unknown, {error.message}",)

    def _covered_until(self, snapshot: Snapshot) -> datetime | None:
        programs = _cluster.reach(self._source).programs
        with self._cli() as cli, TemporaryDirectory(dir=self._around.state, prefix="wal-") as scratch:
            held = self._set(cli, snapshot)
            directory = directory_for(self._user(), Path(scratch))
            archive = archive_of(cli, held, programs, self._source.data)
            return archive.covered_until(held["archive"]["start"], programs, directory)

    @contextmanager
    def _cli(self, work: Path | None = None, cluster: Mapping[str, str] | None = None) -> Iterator[PgBackRestCli]:
        """pgBackRest with the configuration that the cluster's `archive_command` reads, or with a lab's own."""
        tool = tools.find(PGBACKREST)
        user = self._user()
        _pgbackrest_config.refuse_address(self._place, tool)
        if isinstance(self._place, Bucket):
            # pgBackRest asks a store that does not answer for minutes; this asks once.
            open_store(self._place, self._around.secrets).names(f"archive/{self._policy.slug}/archive.info")
        if work is None:
            work = directory_for(user, self._around.state)
            let_pass(user, work, self._around.home)
        text = _pgbackrest_config.text(
            self._policy.slug,
            _pgbackrest_config.repository(self._place, self._destination, self._around.secrets),
            cluster or _pgbackrest_config.cluster(self._source),
            work,
        )
        config = file_for(user, work / _pgbackrest_config.FILENAME, text)
        yield PgBackRestCli(tool, self._policy.slug, config, user, self.location)

    def _user(self) -> int:
        """Whom pgBackRest runs as: who owns the cluster, or what is left of it; only root can choose."""
        if os.geteuid() == 0:
            paths = [self._source.data, *([self._place.path] if isinstance(self._place, Directory) else ())]
            for path in paths:
                if path.exists():
                    return int(path.stat().st_uid)
        return os.geteuid()

    def _open_or_create(self, cli: PgBackRestCli, cluster: _cluster.Cluster, *, create: bool) -> str:
        """The stanza's id. Wrong password and unreachable are errors of their own, never a reason to make a new one."""
        try:
            stanza = cli.info()
        except RepositoryMissingError as error:
            if not create:
                raise RepositoryVanishedError(
                    f"{self.location} held snapshots of {self._policy.target} and is gone",
                    remedy="mount it; if it is meant to start anew, run the backup with --new-repository",
                ) from error
            self._require_space(cluster.bytes // _FIRST_COPY_SHARE, f"the first backup of {self._policy.target}")
            if isinstance(self._place, Directory):
                directory_for(cli.user, self._place.path)
                let_pass(cli.user, self._place.path, self._place.path.parent)
            cli.query("stanza-create")
            stanza = cli.info()
        self._require_space(0, f"a backup of {self._policy.target}")
        known = str(stanza["db"][-1]["system-id"]) if stanza["db"] else ""
        if known != cluster.system_id:
            raise SourceError(
                f"{self.location} belongs to the cluster {known}, and {self._source.data} is {cluster.system_id}",
                remedy="if pg_upgrade made it, run `pgbackrest stanza-upgrade` with the configuration "
                f"{cli.config}; if it is another cluster, give it another target",
            )
        return cli.identity()

    def _require_space(self, needed: int, what: str) -> None:
        if isinstance(self._place, Directory):
            require_space(self._place.path, needed, what)

    def _kind(self, sets: Sequence[Mapping[str, Any]]) -> str:
        """What the policy wants now: a full, where the last is too old, or what builds on it has damaged pages."""
        at = max((index for index, item in enumerate(sets) if item["type"] == "full"), default=None)
        if at is None or any(item.get("error") for item in sets[at:]):
            return "full"
        age = self._around.now() - moment(sets[at]["timestamp"]["start"])
        return "full" if age >= self._source.full_every else self._source.backup

    def _read_back(self, stanza: Mapping[str, Any], run_id: str, kind: str, flushed: int) -> Snapshot:
        found = [
            item
            for item in stanza["backup"]
            if is_own(item, self._policy.target) and item["annotation"]["run_id"] == run_id
        ]
        if len(found) != 1:
            raise ToolLiedError(f"pgbackrest lists {len(found)} backups of run {run_id}; it should be one")
        (item,) = found
        snapshot = self._snapshot(item)
        if item.get("error"):
            raise SourceError(
                f"pages of {self._source.data} have wrong checksums; {item['label']} holds them and does not count",
                remedy=f"`pgbackrest info --set={item['label']}` names the files; restore or rebuild what they hold",
            )
        if kind == "full" and item["type"] != kind:
            raise ToolLiedError(f"{snapshot.key} is {item['type']} instead of {kind}")
        if not snapshot.size_bytes:
            raise ToolLiedError(f"{snapshot.key} holds nothing")
        if _cluster.position(item["lsn"]["start"]) < flushed:
            raise ToolLiedError(f"{snapshot.key} starts before the row that was written for it")
        stop, own = item["archive"]["stop"], item["database"]["id"]
        if not any((part["max"] or "") >= stop for part in stanza["archive"] if part["database"]["id"] == own):
            raise ToolLiedError(f"{snapshot.key} needs the WAL segment {stop}, and the archive ends before it")
        return snapshot

    def _set(self, cli: PgBackRestCli, snapshot: Snapshot) -> dict[str, Any]:
        """A snapshot as `info` lists it, and beside it the name of its part of the archive."""
        stanza = cli.info()
        for item in stanza["backup"]:
            if item["label"] == snapshot.snapshot_id:
                names = {entry["database"]["id"]: entry["id"] for entry in stanza["archive"]}
                return {**item, "archive-id": names.get(item["database"]["id"], "")}
        raise UnknownSnapshotError(f"{snapshot.key} is no longer in {self.location}", remedy="choose another one")

    def _snapshot(self, item: Mapping[str, Any]) -> Snapshot:
        return snapshot_of(item, self._policy, self._source.data, self.location)


def _ended(snapshot: Snapshot) -> datetime:
    """When a set had surely ended."""
    return (snapshot.finished_at or snapshot.taken_at) + _SECOND


def _teller(progress: Progress, stage: str) -> Callable[[float], None]:
    return lambda fraction: progress(Update(stage, fraction))
