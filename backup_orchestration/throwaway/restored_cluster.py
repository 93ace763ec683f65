"""A restored cluster made ready to be started in a lab: nothing of it leads, listens or reports outside.

What a server takes from its data directory besides data is taken away: its configuration, and what `ALTER SYSTEM`
left. Only how to recover stays, as the restore has written it. Links and tablespaces that lead elsewhere are refused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import LabError, ProbeFailedError
from backup_orchestration.core.postgres import Programs

START = "start"
_RECOVERY = re.compile(r"\s*(restore_command|recovery_target(_\w+)?)\s*=", re.IGNORECASE)
_SECONDS = 60.0
_LIMITS = {
    "max_connections": "max_connections",
    "max_prepared_transactions": "max_prepared_xacts",
    "max_locks_per_transaction": "max_locks_per_xact",
}


def make_safe(root: Path, data: Path) -> None:
    """Prepare restored files for a server that runs as we do.

    Args:
        root: directory that holds all that was restored.
        data: the data directory, below it.

    Raises:
        ProbeFailedError: something leads out of `root`, or is no file.
    """
    for directory, folders, files in os.walk(root):
        for name in (*folders, *files):
            _check(Path(directory, name), root)
    data.chmod(0o700)
    _check_tablespace_map(data, root)
    # Of the server that was: its process, and whom it followed.
    for name in ("postmaster.pid", "postmaster.opts", "standby.signal"):
        (data / name).unlink(missing_ok=True)
    settings = data / "postgresql.auto.conf"
    settings.write_text(_recovery_only(settings), encoding="utf-8")


def refuse_strays(root: Path, data: Path) -> None:
    """Refuse to judge a cluster whose recovery has made a tablespace: it lies where the server had it that made it.

    Raises:
        LabError: names the directory.
    """
    for link in (data / "pg_tblspc").glob("*"):
        if link.is_symlink() and not link.resolve().is_relative_to(root.resolve()):
            raise LabError(
                f"a tablespace was made at {link.readlink()} between the start of the backup and the moment that is "
                "restored to, and a lab cannot write there",
                remedy="test a snapshot that was taken afterwards",
            )


def limits(programs: Programs, data: Path) -> Mapping[str, str]:
    """Settings that must not be lower than where the data comes from, as `pg_control` knows them.

    Raises:
        ProbeFailedError: it cannot be read.
    """
    done = run(Command((programs.path("pg_controldata"), str(data)), _SECONDS, user=data.stat().st_uid))
    # With a broken checksum pg_controldata warns, guesses, and ends with 0.
    if "WARNING" in done.stdout + done.stderr:
        raise ProbeFailedError("pg_control is damaged: its checksum is wrong", probe=START)
    said = dict(re.findall(r"^([^:]+) setting:\s+(.*)$", done.stdout, re.MULTILINE))
    if done.returncode != 0 or not said.keys() >= set(_LIMITS.values()):
        raise ProbeFailedError(f"pg_control cannot be read: {done.reason}", probe=START)
    return {setting: said[name] for setting, name in _LIMITS.items()}


def _check(path: Path, root: Path) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        _inside(path.parent / os.readlink(path), root, str(path.relative_to(root)))
    elif not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise ProbeFailedError(f"{path.relative_to(root)} is neither a file nor a directory", probe=START)
    if os.geteuid() == 0 and status.st_uid != 0:
        os.chown(path, 0, 0, follow_symlinks=False)


def _check_tablespace_map(data: Path, root: Path) -> None:
    """At its start a server makes the links in `pg_tblspc` anew from this file, where there is one."""
    path = data / "tablespace_map"
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            _inside(data / "pg_tblspc" / line.partition(" ")[2], root, f"{path.name}, {line.partition(' ')[0]},")


def _inside(path: Path, root: Path, what: str) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise ProbeFailedError(f"{what} leads out of the lab, to {path}: no server is started on it", probe=START)


def _recovery_only(settings: Path) -> str:
    if not settings.exists():
        return ""
    text = settings.read_text(encoding="utf-8", errors="replace")
    return "".join(f"{line}\n" for line in text.splitlines() if _RECOVERY.match(line))
