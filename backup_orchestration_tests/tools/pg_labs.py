"""A site whose `shop/db` was backed up by pgBackRest and restored once; every restore after that is a copy, changed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core.commands import check
from backup_orchestration.core.postgres import PGDATA
from backup_orchestration.core.progress import silent
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.providers.base import RestoreReport, RestoreSpec
from backup_orchestration.providers.pgbackrest import PgBackRestRepository
from backup_orchestration_tests.postgres_cluster import RunningCluster, recovered

TARGET = "shop/db"
POLICY = """\
BackupPolicy(target="shop/db", provider="pgbackrest", source=Postgres(data={data!r}, socket={socket!r}),
    restore_test=RestoreTest(probes=[Probe(name="sql", options={options!r})]))"""
SCHEMA = """\
CREATE EXTENSION pg_trgm;
CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, note text);
INSERT INTO orders SELECT n, 'customer ' || n, repeat('x', 100) FROM generate_series(1, 1000) AS n;
CREATE INDEX orders_customer ON orders (customer);
CREATE TABLE products (id int PRIMARY KEY, name text, price numeric);
INSERT INTO products SELECT n, 'product ' || n, n / 7.0 FROM generate_series(1, 20) AS n;
CREATE TABLE jobs (id int);
INSERT INTO jobs SELECT generate_series(1, 10);
DELETE FROM jobs WHERE id <= 7;
CREATE UNLOGGED TABLE cache (id int);
INSERT INTO cache VALUES (1);
CREATE ROLE shop_app;
"""


def tool(cluster: RunningCluster, program: str, *arguments: str) -> None:
    """Run a client program on a cluster."""
    check(cluster._command(program, "-h", str(cluster.socket), "-U", "postgres", *arguments))


@dataclass
class Shop:
    """The site, what was restored of it, and what is there after a clean recovery."""

    site: object
    cluster: RunningCluster
    snapshot: Snapshot
    restored: Path
    clean: Path

    def declare(self, **options: object):
        """Give the probe `sql` these options."""
        paths = {"data": str(self.cluster.data), "socket": str(self.cluster.socket)}
        return self.site.declare(POLICY.format(**paths, options=options))

    def test(self, monkeypatch, plant, *, clean: bool = True):
        """A restore test of the snapshot, with something planted in what the restore has brought."""

        def restore(repository, snapshot, into: RestoreSpec, progress) -> RestoreReport:
            copied(self.clean if clean else self.restored, into.directory)
            plant(into.directory)
            return RestoreReport(into.directory, 1, 1, 0.0, 1)

        monkeypatch.setattr(PgBackRestRepository, "restore", restore)
        return self.site.restore_test(TARGET, self.snapshot.key)


def sql(statements: str, database: str = "shop"):
    """Plants by SQL: a server is started on what was restored, and told."""

    def plant(root: Path) -> None:
        with recovered(root) as server:
            for statement in statements.split(";\n"):
                tool(server, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, database)

    return plant


def file_of(shop: Shop, table: str, fork: str = "") -> str:
    """Where the first segment of a table's fork lies in a data directory."""
    return shop.cluster.one(f"SELECT pg_relation_filepath('{table}')", "shop") + fork


def other_bytes(name: str, offset: int = 4000):
    """Plants by changing a file as a bad disk would."""

    def plant(root: Path) -> None:
        with (root / PGDATA / name).open("r+b") as file:
            file.seek(offset)
            there = file.read(16)
            file.seek(offset)
            file.write(bytes(byte ^ 0xFF for byte in there))

    return plant


def make_shop(site, cluster: RunningCluster, root: Path, schema: str = "", **options: object) -> Shop:
    """Make the database, back it up, restore it, and recover a copy of that."""
    tool(cluster, "createdb", "shop")
    cluster.sql(SCHEMA + schema, "shop")
    tool(cluster, "vacuumdb", "shop")
    shop = Shop(site, cluster, None, root / "restored", root / "clean")
    shop.declare(**options)
    repository = site.homelab.repository(TARGET)
    cluster.archive_with(dict(repository.archive_settings()))
    shop.snapshot = site.backup(TARGET)
    shop.restored.mkdir(mode=0o700)
    repository.restore(shop.snapshot, RestoreSpec(shop.restored), silent)
    copied(shop.restored, shop.clean)
    with recovered(shop.clean) as server:
        server.pg_ctl("stop", "--mode", "fast")
    return shop


def drop_shop(cluster: RunningCluster) -> None:
    """Leave the shared cluster as it was."""
    tool(cluster, "dropdb", "--force", "shop")
    cluster.sql("DROP ROLE shop_app")


def copied(restored: Path, directory: Path) -> Path:
    """As if it had been restored there: what names its own place names the new one."""
    shutil.copytree(restored, directory, symlinks=True, dirs_exist_ok=True)
    settings = directory / PGDATA / "postgresql.auto.conf"
    settings.write_text(settings.read_text().replace(str(restored), str(directory)))
    for link in (directory / PGDATA / "pg_tblspc").iterdir():
        there = directory / Path(os.readlink(link)).relative_to(restored)
        link.unlink()
        link.symlink_to(there)
    return directory
