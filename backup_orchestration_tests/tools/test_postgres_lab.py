"""The lab of a restored PostgreSQL: what is the data's fault and what is not, and that nothing leaves it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from backup_orchestration.core.errors import LabError, ToolMissingError
from backup_orchestration.core.postgres import PGDATA
from backup_orchestration.core.progress import silent
from backup_orchestration.providers.base import RestoreSpec
from backup_orchestration.throwaway.postgres import restored_server
from backup_orchestration.throwaway.process import process_lab, reap
from backup_orchestration_tests.postgres_cluster import recovered, wait
from backup_orchestration_tests.tools.pg_labs import TARGET, copied, drop_shop, make_shop, sql, tool

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A tablespace's directory, outside of the data directory."""
    return tmp_path_factory.mktemp("space")


@pytest.fixture(scope="module")
def shop(tmp_path_factory, new_site, postgres_cluster, space):
    root = tmp_path_factory.mktemp("shop")
    tool(postgres_cluster, "psql", "-XAtq", "-c", f"CREATE TABLESPACE far LOCATION '{space}'")
    site = new_site(root)
    made = make_shop(site, postgres_cluster, root, schema="CREATE TABLE far_away TABLESPACE far AS SELECT 1 AS id;")
    yield made
    drop_shop(postgres_cluster)
    tool(postgres_cluster, "psql", "-XAtq", "-c", "DROP TABLESPACE far")


def labs(shop):
    return shop.site.homelab.home / "labs"


def contents(*directories: Path) -> dict[str, str]:
    """Every file, by its hash."""
    files = [path for directory in directories for path in sorted(directory.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(name: str, change):
    """Plants by changing a file of the data directory."""
    return lambda root: change(root / PGDATA / name)


# -- the data's fault -------------------------------------------------------------------------------------------------

BROKEN = {
    "no data directory": (changed("PG_VERSION", Path.unlink), "it has no PG_VERSION"),
    "pg_control gone": (changed("global/pg_control", Path.unlink), "pg_control cannot be read"),
    "pg_control damaged": (
        changed("global/pg_control", lambda path: path.write_bytes(b"\xff" + path.read_bytes()[1:])),
        "pg_control is damaged",
    ),
    "WAL missing": (lambda root: shutil.rmtree(root / "wal"), "FATAL"),
    "a link leads outside": (
        changed("pg_wal/more", lambda path: path.symlink_to("/etc")),
        "pgdata/pg_wal/more leads out of the lab, to /etc",
    ),
    "a map of tablespaces leads outside": (
        changed("tablespace_map", lambda path: path.write_text("16999 /srv/space\n")),
        "tablespace_map, 16999, leads out of the lab, to /srv/space",
    ),
    "directories gone": (changed("pg_tblspc", shutil.rmtree), 'FATAL:  could not open directory "pg_tblspc"'),
    "a pipe": (changed("base/pipe", os.mkfifo), "pgdata/base/pipe is neither a file nor a directory"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_cluster_that_does_not_start_because_of_its_data_fails_the_test(shop, monkeypatch, matrix, name):
    plant, words = BROKEN[name]
    evidence = shop.test(monkeypatch, plant, clean=False)
    assert evidence.reason.startswith("start: ")
    assert words in evidence.reason
    matrix("a restored PostgreSQL that does not start: defect | its words", name, evidence.reason.split(": ", 1)[1])
    assert list(labs(shop).iterdir()) == []


# -- not the data's fault ---------------------------------------------------------------------------------------------

HERE_LACKS = {
    "a newer PostgreSQL": (
        changed("PG_VERSION", lambda path: path.write_text("99\n")),
        ToolMissingError,
        "PostgreSQL 99",
    ),
    "an extension": (
        sql("CREATE EXTENSION hstore;\nUPDATE pg_extension SET extname = 'nowhere' WHERE extname = 'hstore'"),
        ToolMissingError,
        "database shop uses the extension nowhere",
    ),
    "collations": (
        sql("UPDATE pg_database SET datcollversion = '2.19'"),
        LabError,
        "database postgres is sorted by version 2.19 of collation C, and this machine has None",
    ),
    "a locale": (
        sql(
            "UPDATE pg_database SET datcollate = 'xx_XX.utf8', datctype = 'xx_XX.utf8' WHERE datname = 'shop'",
            "postgres",
        ),
        LabError,
        "database locale is incompatible with operating system",
    ),
}


@pytest.mark.parametrize("name", HERE_LACKS)
def test_what_this_machine_lacks_is_an_error_without_evidence(shop, monkeypatch, name):
    plant, error, words = HERE_LACKS[name]
    before = len(shop.site.homelab.evidence().ledger(TARGET, "default").records)
    with pytest.raises(error, match=words):
        shop.test(monkeypatch, plant)
    assert len(shop.site.homelab.evidence().ledger(TARGET, "default").records) == before
    assert list(labs(shop).iterdir()) == []


def test_no_server_is_started_where_it_could_write_outside(shop, monkeypatch):
    monkeypatch.setattr("backup_orchestration.throwaway.postgres.can", lambda **how: "writes" not in how)
    with pytest.raises(LabError, match="be kept from writing outside its lab"):
        shop.test(monkeypatch, lambda root: None)


def test_what_cannot_be_cut_off_from_the_network_says_so(shop, monkeypatch):
    monkeypatch.setattr("backup_orchestration.throwaway.postgres.can", lambda **how: "cut_off" not in how)
    evidence = shop.test(monkeypatch, lambda root: None)
    assert evidence.passed, evidence.reason
    assert "NOT cut off from the network" in next(item.summary for item in evidence.probes if item.name == "start")


# -- nothing leaves the lab -------------------------------------------------------------------------------------------

HOSTILE = """\
CREATE SUBSCRIPTION spy CONNECTION 'host=127.0.0.1 port={port} dbname=x' PUBLICATION p
    WITH (connect = false, slot_name = 'spy');
ALTER SUBSCRIPTION spy ENABLE;
ALTER ROLE postgres SET default_transaction_read_only = off;
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my house'; END $$;
CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse();
ALTER DATABASE shop SET statement_timeout = '1ms';
ALTER DATABASE shop SET search_path = evil;
ALTER ROLE postgres SET session_preload_libraries = './evil.so'"""

SETTINGS = """\
listen_addresses = '127.0.0.1'
port = {port}
archive_mode = 'on'
archive_command = 'touch {leak}'
recovery_end_command = 'touch {leak}'
archive_cleanup_command = 'touch {leak}'
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
primary_conninfo = 'host=127.0.0.1 port={port}'
log_directory = '{leak}.logs'
logging_collector = 'on'
external_pid_file = '{leak}'
"""


def test_nothing_leaves_the_lab_whatever_the_restored_server_was_told(shop, monkeypatch, space, tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    port, leak = listener.getsockname()[1], tmp_path / "leak"
    listener.close()
    heard = []

    def plant(root: Path) -> None:
        sql(HOSTILE.format(port=port))(root)
        for name in ("postgresql.conf", "postgresql.auto.conf"):
            with (root / PGDATA / name).open("a") as file:
                file.write(SETTINGS.format(port=port, leak=leak))
        heard.append(socket.create_server(("127.0.0.1", port)))

    tool(shop.cluster, "psql", "-XAtq", "-c", "CHECKPOINT")
    watched = (space, shop.site.root / "backups")
    before = contents(*watched)
    assert len(before) > 10
    try:
        evidence = shop.test(monkeypatch, plant)
        heard[0].settimeout(0.2)
        with pytest.raises(TimeoutError):
            heard[0].accept()
    finally:
        heard[0].close()
    assert evidence.passed, evidence.reason
    assert contents(*watched) == before
    assert list(tmp_path.iterdir()) == []


def test_a_tablespace_comes_back_inside_the_lab(shop):
    (link,) = (shop.restored / PGDATA / "pg_tblspc").iterdir()
    assert link.resolve().is_relative_to(shop.restored)


def test_wal_that_makes_a_tablespace_cannot_reach_the_one_of_production(shop, tmp_path):
    """Replayed WAL makes a tablespace where it was made first: with production's files in it, and their names."""
    location = tmp_path / "new space"
    location.mkdir()
    psql = lambda database, statement: tool(shop.cluster, "psql", "-XAtq", "-c", statement, database)  # noqa: E731
    psql("postgres", f"CREATE TABLESPACE new LOCATION '{location}'")
    psql("shop", "CREATE TABLE there TABLESPACE new AS SELECT n FROM generate_series(1, 100) AS n")
    moment = shop.cluster.now()
    psql("shop", "UPDATE there SET n = -n")
    psql("postgres", "CHECKPOINT")
    shop.cluster.switch()
    before = contents(location)
    repository = shop.site.homelab.repository(TARGET)
    try:
        with process_lab(tmp_path / "labs", "shop-db") as lab:
            repository.restore(shop.snapshot, RestoreSpec(lab.data, at=moment), silent)
            with (
                pytest.raises(LabError, match=f"a tablespace was made at {location}"),
                restored_server(lab.data, lab, "postgres"),
            ):
                pass
        assert contents(location) == before
    finally:
        psql("shop", "DROP TABLE there")
        psql("postgres", "DROP TABLESPACE new")


# -- nothing is left --------------------------------------------------------------------------------------------------


def serve(root, data, pipe):
    with process_lab(root, "shop-db") as lab:
        copied(data, lab.data)
        with restored_server(lab.data, lab, "postgres") as started:
            pid = int((lab.data / PGDATA / "postmaster.pid").read_text().split("\n")[0])
            pipe.send((pid, str(started.server.socket)))
            pipe.recv()


def test_a_killed_worker_leaves_no_server_and_the_reaper_takes_the_rest(shop, tmp_path):
    ours, theirs = FORK.Pipe()
    worker = FORK.Process(target=serve, args=(tmp_path / "labs", shop.clean, theirs))
    worker.start()
    theirs.close()
    _, sockets = ours.recv()
    (lab,) = (tmp_path / "labs").iterdir()
    assert working_in(lab)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    wait(lambda: not working_in(lab))
    assert Path(sockets).is_dir()
    assert reap(tmp_path / "labs") == [lab.name]
    assert not Path(sockets).exists()


def test_the_reaper_ends_a_server_that_has_lost_its_worker(shop, tmp_path):
    """Its postmaster may be stopped, or wait for a session; what works in a lab that nobody holds is killed."""
    lab = tmp_path / "labs" / "shop-db-00000000"
    lab.mkdir(parents=True)
    copied(shop.clean, lab / "data")
    with recovered(lab / "data"):
        assert working_in(lab)
        assert reap(tmp_path / "labs") == [lab.name]
        time.sleep(0.1)
        assert not working_in(lab)
    assert not lab.exists()


def working_in(directory: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(directory) in os.readlink(entry / "cwd"):
                found.append(entry.name)
        except OSError:
            continue
    return found
