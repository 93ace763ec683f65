"""Acceptance: a database that is dumped through restic, and the dump loaded into a cluster that is made for it."""

from __future__ import annotations

import threading

import pytest
from defects import planted

from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import HomelabError, PostgresError, SourceError
from backup_orchestration.core.postgres import Programs
from backup_orchestration_tests.postgres_cluster import wait
from backup_orchestration_tests.tools.pg_labs import SCHEMA, tool

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic"), pytest.mark.xdist_group("postgres")]

TARGET = "shop/dump"
HEADING = "defects planted in a restored dump of PostgreSQL: defect | probe | its words"
MORE = """\
ALTER TABLE orders OWNER TO shop_app;
GRANT SELECT ON products TO shop_app;
ALTER TABLE products ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON products TO shop_app USING (true);
CREATE SCHEMA audit;
CREATE TABLE audit.log (id int);
INSERT INTO audit.log VALUES (1);
"""


@pytest.fixture
def declare(site, start_repository, postgres_cluster):
    """Declares a dump of a database of the cluster; further fields of the source and options of `sql` can be given."""

    def declare(database="shop", sql=None, **fields):
        source = {"database": database, "host": str(postgres_cluster.socket), **fields}
        probes = f"RestoreTest(probes=[Probe(name='sql', options={sql or {}!r})])"
        arguments = ", ".join(f"{name}={value!r}" for name, value in source.items())
        site.declare(f'BackupPolicy(target="{TARGET}", source=PgDump({arguments}), restore_test={probes})')
        return start_repository(site, TARGET)

    return declare


@pytest.fixture
def shop(postgres_cluster):
    """The database, until the test is over."""
    tool(postgres_cluster, "createdb", "shop")
    postgres_cluster.sql(SCHEMA + MORE, "shop")
    yield postgres_cluster
    tool(postgres_cluster, "dropdb", "--force", "--if-exists", "shop")
    postgres_cluster.sql("DROP ROLE shop_app")


WAITING = "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name ="


def no_snapshot(site):
    return site.homelab.repository(TARGET).snapshots() == []


def test_a_dump_comes_back_with_owners_rights_extensions_and_rows(shop, declare):
    site = declare(
        sql={"unchanging": ["products"], "queries": [{"query": "SELECT count(*) FROM orders", "equals": 1000}]}
    )
    snapshot = site.backup(TARGET)
    shop.sql("INSERT INTO orders VALUES (5000, 'late', '')", "shop")
    evidence = site.restore_test(TARGET, snapshot.key)
    assert evidence.passed, evidence.reason
    assert [item.name for item in evidence.probes] == ["restore", "start", "files", "sql"]
    assert evidence.counts["tables"] == 4
    assert evidence.counts["rows"] == 1000 + 20 + 3 + 1
    assert "1 of your queries" in next(item.summary for item in evidence.probes if item.name == "sql")
    assert list((site.homelab.home / "labs").iterdir()) == []


def test_a_database_with_a_name_and_an_encoding_of_its_own(postgres_cluster, declare):
    name = "host=nowhere 'odd' \"name\" ü"
    tool(postgres_cluster, "createdb", "--template=template0", "--encoding=LATIN1", "--locale=C", name)
    # As if it were a connection string, so that it is a name.
    quoted = "dbname='" + name.replace("'", "\\'") + "'"
    tool(postgres_cluster, "psql", "-c", "CREATE TABLE t AS SELECT 'é' AS x", quoted)
    try:
        site = declare(name)
        site.backup(TARGET)
        evidence = site.restore_test(TARGET)
        assert evidence.passed, evidence.reason
    finally:
        tool(postgres_cluster, "dropdb", name)


def test_excluded_rows_are_not_asked_for(shop, declare):
    site = declare(sql={"uncounted": ["audit.*"]}, options=["--exclude-schema=audit"])
    site.backup(TARGET)
    evidence = site.restore_test(TARGET)
    assert evidence.passed, evidence.reason
    assert evidence.counts["tables"] == 3


DEFECTS = {
    "half of it": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "load", "shop.dump"),
    "something else": (lambda path: path.write_bytes(b"not a dump"), "load", "is no dump that pg_restore can read"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_dump_that_does_not_load_fails_the_test(shop, declare, monkeypatch, matrix, name):
    change, probe, words = DEFECTS[name]
    site = declare()
    site.backup(TARGET)
    planted(monkeypatch, lambda tree: change(tree.report.root / "shop.dump"))
    evidence = site.restore_test(TARGET)
    assert evidence.reason.startswith(f"{probe}: ")
    assert words in evidence.reason
    matrix(HEADING, name, probe, evidence.reason.partition(": ")[2])


def test_a_dump_of_another_day_is_known_by_its_canary(shop, declare, monkeypatch, matrix):
    """The file is a good dump of the right database; it is only not the one that the snapshot says."""
    site = declare()
    site.backup(TARGET)
    older = {}
    planted(monkeypatch, lambda tree: older.setdefault("dump", (tree.report.root / "shop.dump").read_bytes()))
    assert site.restore_test(TARGET).passed
    shop.sql("TRUNCATE homelab.canary", "shop")
    site.backup(TARGET)
    planted(monkeypatch, lambda tree: (tree.report.root / "shop.dump").write_bytes(older["dump"]))
    evidence = site.restore_test(TARGET)
    assert evidence.reason.startswith("load: canary absent")
    matrix(HEADING, "an older dump", "load", evidence.reason.partition(": ")[2])


def test_a_client_that_fails_leaves_no_snapshot(shop, declare):
    """pg_dump begins, and then meets a table of which it would get some rows only."""
    shop.sql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; GRANT CREATE ON DATABASE shop TO reader;")
    try:
        site = declare(user="reader", sql={"uncounted": ["products"]})
        with pytest.raises(HomelabError, match="row-level security"):
            site.backup(TARGET)
        assert no_snapshot(site)
        assert shop.one("SELECT count(*) FROM homelab.canary", "shop") == 1
    finally:
        shop.sql("DROP OWNED BY reader", "shop")
        shop.sql("DROP ROLE reader")


def test_a_client_that_prints_nothing_leaves_no_snapshot(shop, declare, monkeypatch, tmp_path):
    silent = tmp_path / "pg_dump"
    silent.write_text("#!/bin/sh\nexit 0\n")
    silent.chmod(0o755)
    real = Programs.path
    monkeypatch.setattr(Programs, "path", lambda self, name: str(silent) if name == "pg_dump" else real(self, name))
    site = declare()
    with pytest.raises(HomelabError, match="pg_dump printed nothing"):
        site.backup(TARGET)
    assert no_snapshot(site)


def test_a_client_that_is_older_than_the_server_is_refused(shop, declare, monkeypatch):
    older = "backup_orchestration.providers.piped.find_programs"
    real = Programs(shop.programs.directory, (14, 9))
    monkeypatch.setattr(older, lambda: real)
    site = declare()
    with pytest.raises(
        PostgresError, match=r"served by PostgreSQL 15\.\d+, and pg_dump here is 14\.9: it must not be older"
    ):
        site.backup(TARGET)
    assert no_snapshot(site)
    assert shop.one("SELECT to_regclass('homelab.canary')", "shop") is None


def test_a_database_that_is_dropped_while_it_is_dumped_leaves_no_snapshot(shop, declare, monkeypatch):
    """pg_dump waits for a table that somebody holds, and its database goes away."""
    started = threading.Event()
    real = Programs.path

    def path(self, name):
        if name == "pg_dump":
            started.set()
        return real(self, name)

    monkeypatch.setattr(Programs, "path", path)
    site = declare(sql={"uncounted": ["orders"]})

    def drop():
        held = threading.Thread(target=shop_psql, args=(shop, "BEGIN; LOCK TABLE orders; SELECT pg_sleep(60)"))
        held.start()
        wait(lambda: shop.one(f"{WAITING} 'psql' AND wait_event = 'PgSleep'"))
        started.wait(60)
        wait(lambda: shop.one(f"{WAITING} 'pg_dump' AND wait_event_type = 'Lock'"))
        tool(shop, "dropdb", "--force", "shop")
        held.join()

    dropping = threading.Thread(target=drop)
    dropping.start()
    try:
        with pytest.raises(HomelabError, match="terminating connection"):
            site.backup(TARGET)
    finally:
        dropping.join()
    assert no_snapshot(site)


def shop_psql(shop, statement):
    run(Command((shop.programs.path("psql"), "-h", str(shop.socket), "-U", "postgres", "-c", statement, "shop"), 120))


def test_a_table_of_somebody_else_in_the_place_of_the_canary_is_refused(shop, declare):
    """A trigger on it would run with the rights of whoever takes the backup."""
    shop.sql("CREATE SCHEMA homelab AUTHORIZATION shop_app", "shop")
    site = declare()
    with pytest.raises(PostgresError, match="homelab in database shop belongs to shop_app, not to postgres"):
        site.backup(TARGET)
    assert no_snapshot(site)


@pytest.mark.parametrize(("mode", "words"), [(0o644, "can be read by others"), (None, "cannot be read")])
def test_a_password_file_that_libpq_would_pass_over_is_refused(shop, declare, tmp_path, mode, words):
    passfile = tmp_path / "pgpass"
    if mode is not None:
        passfile.write_text("*:*:*:*:secret\n")
        passfile.chmod(mode)
    site = declare(passfile=str(passfile))
    with pytest.raises(SourceError, match=words):
        site.backup(TARGET)
    assert no_snapshot(site)
