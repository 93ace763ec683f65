"""Where each part of a source stands in a restored directory, and how a person puts it back by hand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core import manifest, object_manifest
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.postgres import PGDATA
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Bucket, Files, PgDump, Postgres, Sqlite


@dataclass(frozen=True)
class Way:
    """The way back.

    Attributes:
        places: of each part of the source, as people name it, the path where it stands restored.
        steps: shell lines, and comments between them; nothing in them is run by this project.
    """

    places: Mapping[str, str]
    steps: Sequence[str]


def way_back(policy: BackupPolicy, snapshot: Snapshot, root: Path) -> Way:
    """The way back of what was restored to a directory.

    Args:
        policy: of the target.
        snapshot: that was restored.
        root: where it stands.
    """
    source = policy.source
    if isinstance(source, Postgres):
        data = root / PGDATA
        return Way({str(source.data): str(data)}, _cluster(str(source.data), root))
    if isinstance(source, Bucket):
        return Way({source.summary: str(root / "objects")}, _objects(root))
    stored = [path for path in snapshot.paths if Path(path).name != manifest.FILENAME]
    if isinstance(source, Files):
        places = {path: _below(root, path) for path in stored}
        return Way(places, [line for path, there in places.items() for line in _files(path, there)])
    there = _below(root, stored[0]) if stored else str(root)
    if isinstance(source, Sqlite):
        return Way({str(source.path): there}, _sqlite(str(source.path), there))
    if isinstance(source, PgDump):
        return Way({source.summary: there}, _dump(source, there))
    what = f"what {source.summary} has given" if source.summary else policy.target
    return Way({what: there}, (f"# give {shlex.quote(there)} to the program that reads it",))


def _below(root: Path, path: str) -> str:
    return str(root / path.lstrip("/"))


def _files(path: str, there: str) -> Sequence[str]:
    quoted = shlex.quote(path)
    return (
        f"# stop what writes to {quoted}; what is there now is kept as {shlex.quote(f'{path}.before')}",
        _kept(path),
        f"[ ! -e {quoted} ] && cp -a -T {shlex.quote(there)} {quoted}",
    )


def _kept(path: str) -> str:
    """Move away what is there; where something was moved away before, nothing happens, and what follows is not done."""
    quoted, old = shlex.quote(path), shlex.quote(f"{path}.before")
    return f"[ ! -e {quoted} ] || [ -e {old} ] || mv -T {quoted} {old}"


def _sqlite(path: str, there: str) -> Sequence[str]:
    quoted, old = shlex.quote(path), shlex.quote(f"{path}.before")
    return (
        f"# stop what uses {quoted}; the old database and its journals are kept with .before behind their names",
        *(_kept(f"{path}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")),
        f"[ ! -e {quoted} ] && cp -p {shlex.quote(there)} {quoted}",
        f"[ ! -e {old} ] || {{ chown --reference={old} {quoted} && chmod --reference={old} {quoted}; }}",
    )


def _dump(source: PgDump, there: str) -> Sequence[str]:
    name = shlex.quote(f"{source.database}_restored")
    where = f"--host={shlex.quote(source.host)} --port={source.port} --username={shlex.quote(source.user)}"
    return (
        "# into a new database beside the old one; roles and extensions that the dump names must be there",
        f"createdb {where} --template=template0 {name}",
        f"pg_restore {where} --exit-on-error --dbname={name} {shlex.quote(there)}",
    )


def _objects(root: Path) -> Sequence[str]:
    names = shlex.quote(str(root / object_manifest.FILENAME))
    return (
        f"# objects stand by the SHA-256 of their keys, in objects/, because keys are no file names; {names} lists the",
        "# keys with type, metadata and tags. To have them back in a bucket under their keys, copy the snapshot from",
        "# the repository with the commands that the plan shows",
    )


def _cluster(data: str, root: Path) -> Sequence[str]:
    quoted = shlex.quote(data)
    return (
        f"# stop the server of {quoted}; what is there now is kept as {shlex.quote(f'{data}.before')}",
        _kept(data),
        f"[ ! -e {quoted} ] && cp -a -T {shlex.quote(str(root / PGDATA))} {quoted}",
        f"# start the server: it recovers with the WAL in {shlex.quote(str(root / 'wal'))}, which must stay till then",
        f"# tablespaces, if there are any, are used where they are, in {shlex.quote(str(root / 'tablespaces'))}",
        "# archiving is off: take the last `archive_mode = 'off'` out of postgresql.auto.conf, restart, take a backup",
    )
