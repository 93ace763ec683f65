"""What a careful person would write to try a backup of a PostgreSQL cluster: one thing after the other.

Restored with pgBackRest as homelab configures it, its WAL held against its checksums, recovered by a server with the
settings of homelab's lab, and asked what homelab's probes `sql`, `amcheck` and `checksums` ask. It confines nothing,
compares the counts with none of before, keeps no evidence, and what it does when something fails is to end.
Usage: postgres_script.py PGBACKREST CONFIGURATION STANZA PROGRAMS DIRECTORY
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from backup_orchestration.core.identity import within

PGBACKREST, CONFIGURATION, STANZA = sys.argv[1:4]
PROGRAMS, ROOM = map(Path, sys.argv[4:])
DATA, WAL = ROOM / "pgdata", ROOM / "wal"
JOBS = str(min(4, os.cpu_count() or 1))

# Of those that a lab's server is started with, what bears on how long it takes.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": str(ROOM),
    "archive_mode": "off",
    "hot_standby": "off",
    "autovacuum": "off",
    "jit": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "max_parallel_workers": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "dynamic_shared_memory_type": "mmap",
}
TABLES = """
SELECT format('SELECT %L, count(*) FROM ONLY %I.%I', relname, nspname, relname)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')
\\gexec
"""


def main() -> None:
    for directory in (DATA, WAL):
        directory.mkdir(mode=0o700, parents=True)
    restore()
    server = start()
    questions()
    server.send_signal(signal.SIGINT)
    if server.wait() != 0:
        sys.exit("the server did not stop cleanly")
    postgres("pg_checksums", "--check", "-D", DATA)
    shutil.rmtree(ROOM)


def restore() -> None:
    stanza = json.loads(pgbackrest("info", "--output=json"))[0]
    taken = stanza["backup"][-1]
    pgbackrest(
        *("restore", f"--set={taken['label']}", "--type=immediate", "--target-action=promote", "--archive-mode=off"),
        f"--pg1-path={DATA}",
        f"--recovery-option=restore_command=cp {WAL}/%f %p",
    )
    fetch_wal(stanza["archive"][0]["id"], taken["archive"]["start"], taken["archive"]["stop"])


def fetch_wal(archive: str, first: str, last: str) -> None:
    listed = json.loads(pgbackrest("repo-ls", "--output=json", f"archive/{STANZA}/{archive}/{first[:16]}"))
    segments = sorted(name for name in listed if first <= name[:24] <= last and name[24:25] == "-")
    if not segments or segments[-1][:24] != last:
        sys.exit(f"{last} is not in the archive")
    for segment in segments:
        name, sha1 = segment[:24], segment[25:65]
        pgbackrest("archive-get", f"--pg1-path={DATA}", name, WAL / name)
        if hashlib.sha1((WAL / name).read_bytes(), usedforsecurity=False).hexdigest() != sha1:
            sys.exit(f"{name} is damaged")


def start() -> subprocess.Popen[bytes]:
    options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    with (ROOM / "log").open("wb") as log:
        server = subprocess.Popen(
            as_user([str(PROGRAMS / "postgres"), "-D", str(DATA), *options]), stdout=log, stderr=log
        )
    while state() != "ready":
        if server.poll() is not None:
            sys.exit((ROOM / "log").read_text())
        time.sleep(0.05)
    return server


def state() -> str:
    """As pg_ctl sees it, in the last line of postmaster.pid. What the restore brought may have an older one."""
    try:
        lines = (DATA / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return lines[7].strip() if len(lines) > 7 else ""


def questions() -> None:
    databases = psql("postgres", "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate")
    counts = [psql(database, TABLES) for database in databases.split()]
    if "orders|" not in "".join(counts):
        sys.exit("there are no orders")
    postgres(
        *("pg_amcheck", "--host", ROOM, "--username", "postgres", "--all", "--install-missing", "--heapallindexed"),
        *("--parent-check", "--jobs", JOBS, "--maintenance-db", "postgres"),
    )


def psql(database: str, script: str) -> str:
    return postgres("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", ROOM, "-U", "postgres", database, stdin=script)


def postgres(program: str, *arguments: Any, stdin: str = "") -> str:
    return output([str(PROGRAMS / program), *map(str, arguments)], stdin)


def pgbackrest(*arguments: Any) -> str:
    return output([PGBACKREST, f"--config={CONFIGURATION}", f"--stanza={STANZA}", *map(str, arguments)], "")


def output(argv: list[str], stdin: str) -> str:
    return subprocess.run(as_user(argv), input=stdin, stdout=subprocess.PIPE, text=True, check=True).stdout


def as_user(argv: list[str]) -> list[str]:
    """PostgreSQL refuses root."""
    return within(argv, os.geteuid(), cut_off=False, writes=None)


if __name__ == "__main__":
    main()
