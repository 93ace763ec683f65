"""Restores of PostgreSQL: a cluster that a person can start where it stands, and a dump that he can load."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest

from backup_orchestration.operations.restore import restore
from backup_orchestration.operations.restore_plan import Wanted, plan_restore
from backup_orchestration_tests.postgres_cluster import recovered, wait
from backup_orchestration_tests.tools.pg_labs import SCHEMA, drop_shop, tool

pytestmark = [
    pytest.mark.tools,
    pytest.mark.usefixtures("restic", "pgbackrest"),
    pytest.mark.xdist_group("postgres"),
]

SPACE = "CREATE TABLESPACE far LOCATION '{}'"


@pytest.fixture
def shop(site, postgres_cluster, tmp_path):
    """A database, and a cluster that archives to the site; another tablespace holds one table."""
    source = {"data": str(postgres_cluster.data), "socket": str(postgres_cluster.socket)}
    site.declare(
        f'BackupPolicy(target="shop/db", provider="pgbackrest", source=Postgres(**{source!r}))',
        f'BackupPolicy(target="shop/dump", source=PgDump(database="shop", host={source["socket"]!r}))',
    )
    tool(postgres_cluster, "createdb", "shop")
    postgres_cluster.sql(SCHEMA, "shop")
    far = tmp_path / "far"
    far.mkdir(mode=0o700)
    postgres_cluster.sql_alone(SPACE.format(far))
    postgres_cluster.sql("CREATE TABLE away TABLESPACE far AS SELECT generate_series(1, 50) AS id", "shop")
    yield site
    postgres_cluster.sql("DROP TABLE away", "shop")
    postgres_cluster.sql_alone("DROP TABLESPACE far")
    drop_shop(postgres_cluster)


def restored(site, target, **wanted):
    plan = plan_restore(site.homelab, target, Wanted(**{"key": None, **wanted}))
    done = restore(site.homelab, plan)
    assert done.passed, done.reason
    assert list((site.homelab.home / "labs").iterdir()) == []
    return done


def test_a_cluster_starts_where_it_was_restored(shop, postgres_cluster):
    repository = shop.homelab.repository("shop/db")
    postgres_cluster.archive_with(dict(repository.archive_settings()))
    snapshot = shop.backup("shop/db")
    # Covered is from the second on after the one in which the set ended.
    wait(lambda: postgres_cluster.now() > snapshot.finished_at + timedelta(seconds=2))
    postgres_cluster.sql("INSERT INTO away VALUES (51)", "shop")
    moment = postgres_cluster.now()
    postgres_cluster.sql("INSERT INTO away VALUES (52)", "shop")
    postgres_cluster.switch()
    for name, wanted, rows in (("set", {"key": snapshot.key}, 50), ("moment", {"at": moment}, 51)):
        done = restored(shop, "shop/db", to=shop.root / name, **wanted)
        place = done.plan.place
        assert [item.name for item in done.probes] == ["start", "sql", "amcheck", "checksums"]
        assert dict(done.plan.way.places) == {str(postgres_cluster.data): f"{place}/pgdata"}
        # The probes have not touched it: it has still to recover, with what lies beside it.
        assert (place / "pgdata" / "recovery.signal").is_file()
        assert (place / "pgdata" / "postgresql.conf").read_text() == (
            postgres_cluster.data / "postgresql.conf"
        ).read_text()
        with recovered(place) as server:
            assert server.one("SELECT count(*) FROM away", "shop") == rows
            assert server.one("SELECT count(*) FROM orders", "shop") == 1000
            where = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'far'"
            assert str(server.one(where)).startswith(f"{place}/tablespaces/")
            assert server.one("SELECT current_setting('archive_mode')") == "off"


def test_a_dump_is_loaded_by_its_steps(shop, postgres_cluster):
    shop.backup("shop/dump")
    done = restored(shop, "shop/dump", key=shop.homelab.repository("shop/dump").latest().key)
    assert [item.name for item in done.probes] == ["start", "files", "sql"]
    (path,) = done.plan.way.places.values()
    assert path == f"{done.plan.place}/shop.dump"
    createdb, load = done.plan.way.steps[1:]
    assert createdb.startswith("createdb ") and load.startswith("pg_restore ")
    try:
        for step in (createdb, load):
            program, *arguments = shlex.split(step)
            tool(postgres_cluster, program, *arguments)
        assert postgres_cluster.one("SELECT count(*) FROM orders", "shop_restored") == 1000
    finally:
        tool(postgres_cluster, "dropdb", "--if-exists", "shop_restored")
