"""A PostgreSQL cluster to measure with: filled, backed up once by pgBackRest, and stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backup_orchestration.core.beside import running
from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.errors import PostgresError
from backup_orchestration.core.postgres import Server, find_programs
from backup_orchestration.homelab.load import load
from backup_orchestration.providers.pgbackrest import PgBackRestRepository
from bench.site import Site

TARGET = "shop/db"
_SECONDS = 600.0
_USER, _PORT = "postgres", 5432

_SERVICES = """\
from backup_orchestration import BackupPolicy, Postgres, Probe, RestoreTest

class Services:
    def policies(self):
        probes = [Probe(name=name) for name in ("sql", "amcheck", "checksums")]
        source = Postgres(data={data!r}, socket={socket!r})
        return [BackupPolicy(target={target!r}, provider="pgbackrest", source=source,
                             restore_test=RestoreTest(probes=probes))]

contributor = Services()
"""

# Texts that compress by half, as people's do; of three tables of a shop, two with an index that is no key.
_FILL = """\
CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, address text NOT NULL);
INSERT INTO customers SELECT n, 'customer ' || md5(n::text), repeat(md5((n * 3)::text), 3)
    FROM generate_series(1, {rows} / 5) AS n;
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, note text NOT NULL);
INSERT INTO orders SELECT n, 1 + n::bigint * 7919 % ({rows} / 5),
    md5(n::text) || md5((n * 5)::text) || repeat('order ', 10) FROM generate_series(1, {rows}) AS n;
CREATE INDEX ON orders (customer);
CREATE TABLE lines (id bigint PRIMARY KEY, ordered bigint NOT NULL, what text NOT NULL);
INSERT INTO lines SELECT n, 1 + n::bigint * 104729 % {rows}, 'article ' || md5(n::text)
    FROM generate_series(1, {rows}) AS n;
CREATE INDEX ON lines (ordered);
ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers;
"""


def declare(site: Site) -> None:
    """Give a site `shop/db`, with all probes of a cluster."""
    text = _SERVICES.format(target=TARGET, data=str(site.root / "postgres"), socket=str(site.root / "socket"))
    (site.root / "services.py").write_text(text)


@contextmanager
def cluster(site: Site) -> Iterator[Server]:
    """Make the cluster of `declare`, which archives into its repository, and run it for the block."""
    data, socket = site.root / "postgres", site.root / "socket"
    socket.mkdir(mode=0o700)
    programs, user = find_programs(), os.geteuid()
    initdb = (programs.path("initdb"), "--pgdata", str(data), "--no-sync", "--data-checksums", "--encoding", "UTF8")
    check(Command((*initdb, "--locale", "C", "--auth", "trust", "--username", _USER), _SECONDS, user=user))
    settings = {"listen_addresses": "", "unix_socket_directories": str(socket), "fsync": "off", **_archiving(site)}
    lines = ["{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in settings.items()]
    (data / "postgresql.conf").write_text("".join(lines))
    server = Server(programs, socket, _PORT, _USER, user)
    with running(Command((programs.path("postgres"), "-D", str(data)), 0, user=user), grace=60) as postmaster:
        _wait(server)
        yield server
        postmaster.signal(signal.SIGINT)


def fill(server: Server, rows: int) -> int:
    """Make the database `shop`, its two large tables with so many rows each; returns its bytes."""
    check(server.command("createdb", "shop"))
    server.execute(_FILL.format(rows=rows), "shop")
    check(server.command("vacuumdb", "--analyze", "shop"))
    server.execute("CHECKPOINT")
    return int(server.rows("SELECT pg_database_size('shop') AS size")[0]["size"])


def configuration(site: Site) -> Path:
    """What pgBackRest is told by homelab: how the repository is opened, and with how many processes."""
    (found,) = (site.root / ".homelab" / "state").rglob("pgbackrest.conf")
    return found


def _archiving(site: Site) -> dict[str, str]:
    repository = load(site.root / "homelab.toml", {}).repository(TARGET)
    assert isinstance(repository, PgBackRestRepository)
    return dict(repository.archive_settings())


def _wait(server: Server) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            server.rows("SELECT 1 AS one")
        except PostgresError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
