"""restic: encrypted, deduplicating snapshots of files, databases copied to files, and dumps.

One repository for each target, `<location>/restic-<service>-<name>`. Snapshots carry the tags
`target=<target>`, `run=<run id>`, `repository=<id>` and a fixed host name; what exists is what is listed with
the target's tag, and what was just made is found by its run id. Dates and ids decide, never "latest".
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from backup_orchestration.core import tools
from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import (
    HomelabError,
    RepositoryError,
    RepositoryMissingError,
    RepositoryVanishedError,
    RestoreFailedError,
    SourceError,
    ToolLiedError,
    UnknownSnapshotError,
)
from backup_orchestration.core.objects import Objects
from backup_orchestration.core.places import Directory, Place
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Dump, PgDump
from backup_orchestration.providers._restic_cli import (
    INCOMPLETE,
    RESTIC,
    ResticCli,
    is_full,
    is_interrupted,
    last_message,
)
from backup_orchestration.providers._restic_locks import drop_dead_locks, past_dead_locks
from backup_orchestration.providers._restic_prune import prune, unlisted
from backup_orchestration.providers._restic_snapshots import snapshot_of
from backup_orchestration.providers._witness import Witness, witness
from backup_orchestration.providers.access import access_commands, secret_file
from backup_orchestration.providers.base import (
    BackupSpec,
    ByHand,
    Provider,
    PruneReport,
    Repository,
    RestoreReport,
    RestoreSpec,
    Surroundings,
)
from backup_orchestration.providers.capture import captured, full_disk, require_space
from backup_orchestration.providers.piped import piped
from backup_orchestration.stores.open import open_store

_HOST = "homelab"  # fixed: in containers the host name changes, and restic groups by it
# restic compresses; the first copy takes at least about this share of what it reads.
_FIRST_COPY_SHARE = 4


class Restic(Provider):
    """See the module."""

    name: ClassVar[str] = "restic"
    encryption: ClassVar[str] = "client"
    tools: ClassVar[tuple[tools.Requirement, ...]] = (RESTIC,)
    sources: ClassVar[tuple[str, ...]] = ("files", "sqlite", "dump", "export", "pg_dump")

    def open(self, policy: BackupPolicy, destination: Destination, around: Surroundings) -> Repository:
        """See `Provider`."""
        return ResticRepository(policy, destination, around, self.location(policy, destination))

    def location(self, policy: BackupPolicy, destination: Destination) -> Place:
        """See `Provider`."""
        return destination.place / f"restic-{policy.slug}"


class ResticRepository(Repository):
    """The restic repository of one target in one destination."""

    def __init__(self, policy: BackupPolicy, destination: Destination, around: Surroundings, place: Place) -> None:
        self._policy = policy
        self._destination = destination
        self._around = around
        self._place = place

    @property
    def location(self) -> str:
        """See `Repository`."""
        return str(self._place)

    def backup(self, spec: BackupSpec, progress: Progress) -> Snapshot:
        """See `Repository`."""
        with self._cli(progress) as cli:
            drop_dead_locks(cli, self._repository_files())
            if isinstance(self._policy.source, Dump | PgDump):
                return self._backup_dump(cli, self._policy.source, spec, progress)
            with captured(self._policy, spec, self._around.staging, self._around.now) as capture:
                identity = self._open_or_create(cli, create=spec.create, source_bytes=capture.totals.bytes)
                arguments = [
                    *(("--force",) if spec.reread else ()),
                    *(argument for pattern in capture.exclude for argument in ("--exclude", pattern)),
                    *self._marks(spec.run_id, identity, capture.started_at),
                    "--",
                    *map(str, capture.paths),
                ]
                self._store(cli, arguments, progress)
                paths = tuple(map(str, capture.paths))
                return self._read_back(cli, spec.run_id, paths, capture.totals.files)

    def snapshots(self) -> Sequence[Snapshot]:
        """See `Repository`."""
        with self._cli() as cli:
            listed = cli.snapshots(f"target={self._policy.target}")
        return sorted(map(self._snapshot, listed), key=lambda item: (item.taken_at, item.snapshot_id))

    def restore(self, snapshot: Snapshot, into: RestoreSpec, progress: Progress) -> RestoreReport:
        """See `Repository`."""
        require_space(into.directory, snapshot.size_bytes, f"restoring {snapshot.key}")
        started = time.monotonic()
        if not into.witnessed:
            with self._cli(progress) as cli:
                summary = self._restore(cli, snapshot, into.directory, progress)
            return _report(into.directory, summary, time.monotonic() - started)
        store = self._repository_files()
        with witness(store, into.scratch, self.location) as seen, self._cli(progress, seen) as cli:
            try:
                drop_dead_locks(cli, store)
                summary = self._restore(cli, snapshot, into.directory, progress)
            except HomelabError as error:
                if reason := _reason(seen, snapshot, error):
                    raise reason from error
                raise
            if reason := _reason(seen, snapshot):
                raise reason
        return _report(into.directory, summary, time.monotonic() - started, seen.bytes_read)

    def prune(self, plan: PrunePlan, progress: Progress) -> PruneReport:
        """See `Repository`."""
        with self._cli(progress) as cli:
            return prune(cli, self._repository_files(), plan, progress, self.snapshots)

    def unlisted(self) -> Sequence[str]:
        """See `Repository`."""
        with self._cli() as cli:
            return unlisted(cli, self._repository_files())

    def by_hand(self) -> ByHand:
        """See `Repository`."""
        secrets = self._around.secrets
        password = secret_file(secrets, self._destination.password, self._what())
        return ByHand(
            opening=(
                f"export RESTIC_REPOSITORY={shlex.quote(self.location)}",
                f"export RESTIC_PASSWORD_FILE={shlex.quote(password)}",
                *access_commands(self._place, secrets, "RESTIC_CACERT"),
            ),
            listing="restic snapshots",
            restoring=('restic restore "$SNAPSHOT" --target ./restored --verify',),
        )

    @contextmanager
    def _cli(self, progress: Progress = silent, through: Witness | None = None) -> Iterator[ResticCli]:
        """restic on the repository; or on what a witness shows of it, which then judges the store, and uncached."""
        tool = tools.find(RESTIC)
        cache = None if through else private_directory(self._around.cache)
        patience = None if through else self._place.patience
        opened = through.url if through else self.location
        secret = self._around.secrets.file(self._destination.password, self._what())
        with secret as password, self._access() as access:
            yield ResticCli(tool, opened, password, cache, access, self.location, patience, progress)

    @contextmanager
    def _access(self) -> Iterator[Mapping[str, str]]:
        """Environment by which restic opens a bucket: names of files, nothing secret."""
        place, secrets = self._place, self._around.secrets
        if isinstance(place, Directory):
            yield {}
            return
        # restic asks a store that does not answer for a quarter of an hour; this asks once.
        self._repository_files().names("keys")
        key = secrets.value(place.access_key, f"{place.name}.access_key")
        secret = secrets.value(place.secret_key, f"{place.name}.secret_key")
        text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        with secrets.temporary_file(text) as file:
            access = {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_DEFAULT_REGION": place.region}
            yield {**access, "RESTIC_CACERT": str(place.ca)} if place.ca else access

    def _repository_files(self) -> Objects:
        return open_store(self._place, self._around.secrets)

    def _require_space(self, needed: int, what: str) -> None:
        if isinstance(self._place, Directory):
            require_space(self._place.path, needed, what)

    def _what(self) -> str:
        return f"destinations.{self._destination.name}.password"

    def _open_or_create(self, cli: ResticCli, *, create: bool, source_bytes: int) -> str:
        """The repository's id. Wrong password, locked and unreachable are errors of their own, never a reason
        to make a new one."""
        try:
            identity = cli.config_id()
        except RepositoryMissingError as error:
            if not create:
                raise RepositoryVanishedError(
                    f"{self.location} held snapshots of {self._policy.target} and is gone",
                    remedy="mount it; if it is meant to start anew, run the backup with --new-repository",
                ) from error
            self._require_space(source_bytes // _FIRST_COPY_SHARE, f"the first backup of {self._policy.target}")
            return cli.init()
        self._require_space(0, f"a backup of {self._policy.target}")
        return identity

    def _marks(self, run_id: str, identity: str, started: datetime) -> list[str]:
        tags = (f"target={self._policy.target}", f"run={run_id}", f"repository={identity}")
        return [
            *("--host", _HOST),
            *(argument for tag in tags for argument in ("--tag", tag)),
            *("--time", f"{started.astimezone(UTC):%Y-%m-%d %H:%M:%S}"),
        ]

    def _backup_dump(self, cli: ResticCli, source: Dump | PgDump, spec: BackupSpec, progress: Progress) -> Snapshot:
        identity = self._open_or_create(cli, create=spec.create, source_bytes=0)
        started, stream = self._around.now(), piped(source, spec)
        arguments = [
            *("--stdin-from-command", "--stdin-filename", stream.filename),
            *self._marks(spec.run_id, identity, started),
            *("--", *stream.command),
        ]
        self._store(cli, arguments, progress)
        return self._read_back(cli, spec.run_id, (f"/{stream.filename}",), 1)

    def _store(self, cli: ResticCli, arguments: Sequence[str], progress: Progress) -> None:
        done, summary = cli.backup(arguments, _teller(progress, "backup"))
        if done.returncode == INCOMPLETE:
            kept = self._discard(cli, str((summary or {}).get("snapshot_id", "")))
            raise SourceError(
                f"restic could not read all of {self._policy.target}: {last_message(done)}{kept}",
                remedy="see who may read it, and whether files vanish while it runs",
            )
        if done.returncode != 0:
            raise cli.error(done)
        if summary is None or not summary.get("snapshot_id"):
            raise ToolLiedError("restic backup ended with exit code 0 and reported no snapshot")

    def _discard(self, cli: ResticCli, identity: str) -> str:
        """An incomplete snapshot is in the repository all the same: take it out of the list.

        Returns what to add to the message when that failed.
        """
        if not identity:
            return ""
        try:
            past_dead_locks(cli, self._repository_files(), lambda: cli.query("forget", identity))
        except HomelabError as error:
            return f"; the incomplete snapshot {identity[:8]} is still listed: {error.message}"
        return ""

    def _read_back(self, cli: ResticCli, run_id: str, paths: Sequence[str], files: int) -> Snapshot:
        listed = cli.snapshots(f"target={self._policy.target},run={run_id}")
        if len(listed) != 1:
            raise ToolLiedError(f"restic lists {len(listed)} snapshots of run {run_id}; it should be one")
        snapshot = self._snapshot(listed[0])
        if refusal := self._refusal(snapshot, paths, files):
            refusal.message += self._discard(cli, snapshot.snapshot_id)
            raise refusal
        return snapshot

    def _refusal(self, snapshot: Snapshot, paths: Sequence[str], files: int) -> HomelabError | None:
        """Why what was stored is not what was there to store, or None."""
        dump = isinstance(self._policy.source, Dump | PgDump)
        stored = snapshot.counts.get("files", 0)
        if files and not stored:
            return ToolLiedError(f"{snapshot.key} holds no file; the source has {files}")
        if files and stored == 1 and not dump:  # the manifest
            return SourceError(
                f"the source {paths[0]} vanished while it was stored", remedy="see whether it is mounted"
            )
        if sorted(snapshot.paths) != sorted(paths):
            return ToolLiedError(f"{snapshot.key} holds {', '.join(snapshot.paths)} instead of {', '.join(paths)}")
        if not snapshot.size_bytes and dump:
            return ToolLiedError(f"{snapshot.key} holds an empty dump")
        return None

    def _snapshot(self, listed: Mapping[str, Any]) -> Snapshot:
        return snapshot_of(listed, Restic.name, self.location, self._policy.description)

    def _restore(self, cli: ResticCli, snapshot: Snapshot, directory: Path, progress: Progress) -> Mapping[str, Any]:
        arguments = [snapshot.snapshot_id, "--target", str(directory)]
        done, summary = cli.restore(arguments, _teller(progress, "restore"))
        if done.returncode in (0, 1) and is_full(done):
            raise full_disk(directory)
        if done.returncode == 1 and not is_interrupted(done):
            raise RestoreFailedError(f"restic could not restore {snapshot.key}: {last_message(done)}")
        if done.returncode != 0:
            raise cli.error(done)
        if summary is None or not summary.get("files_restored"):
            raise RestoreFailedError(f"restic restore of {snapshot.key} ended with exit code 0 and restored nothing")
        return summary


def _teller(progress: Progress, stage: str) -> Callable[[Mapping[str, Any]], None]:
    return lambda status: progress(Update(stage, float(status.get("percent_done", 0.0))))


def _report(root: Path, summary: Mapping[str, Any], seconds: float, bytes_read: int = 0) -> RestoreReport:
    return RestoreReport(
        root=root,
        files=int(summary.get("files_restored", 0)),
        bytes=int(summary.get("bytes_restored", 0)),
        seconds=seconds,
        bytes_read=bytes_read,
    )


def _reason(seen: Witness, snapshot: Snapshot, error: HomelabError | None = None) -> HomelabError | None:
    """Why a witnessed restore failed, if the witness knows: it saw the reason for what restic made of it."""
    if f"snapshots/{snapshot.snapshot_id}" in seen.missing:
        return UnknownSnapshotError(f"{snapshot.key} is no longer in the repository", remedy="choose another one")
    if seen.damaged and (error is None or isinstance(error, RestoreFailedError | RepositoryError)):
        return _damage(seen.damaged)
    return seen.fault


def _damage(damaged: Sequence[str]) -> RestoreFailedError:
    first = ", ".join(sorted(damaged)[:3])
    more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
    return RestoreFailedError(f"damaged or missing in the repository: {first}{more}")
