"""pgBackRest for real: a cluster is backed up, restored, and started on what came back."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup_orchestration.core.errors import NotCoveredError, SourceError
from backup_orchestration_tests.postgres_cluster import recovered, running_cluster, short_directory, wait
from backup_orchestration_tests.tools.pg_sites import PASSWORD, PgSite

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]


@pytest.fixture
def site(tmp_path, postgres_cluster):
    return PgSite(tmp_path / "site", postgres_cluster).archive()


def test_what_is_backed_up_comes_back_with_the_canary_and_its_facts(site):
    facts = {"sql": {"rows": {"public.t": 3}, "odd": 'it\'s \\ "quoted" :name\n%'}, "long": "x" * 300_000}
    snapshot = site.backup(facts)
    assert [item.key for item in site.repository.snapshots()] == [snapshot.key]
    assert snapshot.key.endswith("F")
    report = site.restore(snapshot)
    assert report.bytes >= snapshot.size_bytes > 5 << 20
    with recovered(report.root) as lab:
        rows = lab.server.rows(f"SELECT facts FROM homelab.canary WHERE run_id = '{snapshot.run_id}'")
    assert rows == [{"facts": facts}]
    config = site.around.state / "pgbackrest.conf"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert PASSWORD in config.read_text()
    # The lab has the data and no key of the repository.
    assert not [path for path in report.root.rglob("*.conf") if PASSWORD.encode() in path.read_bytes()]
    assert not (report.root / "pgbackrest").exists()


def test_incremental_backups_build_on_a_full_that_is_young_enough(pg_kept):
    site, full, incremental = pg_kept
    assert (full.key[-1], incremental.key[-1]) == ("F", "I")
    assert incremental.repository_id == full.repository_id
    assert incremental.counts["repository_bytes"] < full.counts["repository_bytes"] / 4
    report = site.restore(incremental, name="lab-incremental")
    with recovered(report.root) as lab:
        assert lab.one("SELECT count(*) FROM small") == 1000
        assert lab.one("SELECT count(*) FROM big") == 20000


def test_a_tablespace_outside_comes_back_inside_the_lab(site, tmp_path, postgres_cluster):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    postgres_cluster.sql_alone(f"CREATE TABLESPACE outside LOCATION '{outside}'")
    try:
        postgres_cluster.sql("CREATE TABLE far TABLESPACE outside AS SELECT n FROM generate_series(1, 500) n")
        snapshot = site.backup()
        before = contents(outside)
        report = site.restore(snapshot)
        with recovered(report.root) as lab:
            assert lab.one("SELECT count(*) FROM far") == 500
            lab.sql("INSERT INTO far VALUES (501); CHECKPOINT")
        assert contents(outside) == before
        assert [path.name for path in (report.root / "tablespaces").iterdir()] == ["outside"]
    finally:
        postgres_cluster.sql("DROP TABLE IF EXISTS far")
        postgres_cluster.sql_alone("DROP TABLESPACE outside")


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_bucket_over_tls(tmp_path, postgres_cluster, s3_store):
    site = PgSite(tmp_path / "site", postgres_cluster, place=s3_store).archive()
    snapshot = site.backup()
    assert [item.key for item in site.repository.snapshots()] == [snapshot.key]
    report = site.restore(snapshot)
    with recovered(report.root) as lab:
        assert lab.one(f"SELECT count(*) FROM homelab.canary WHERE run_id = '{snapshot.run_id}'") == 1
    restored_by_hand(site, snapshot, tmp_path)


def test_plain_commands_restore_it(pg_kept, tmp_path):
    site, _, incremental = pg_kept
    data = restored_by_hand(site, incremental, tmp_path)
    assert "--set" not in (data / "postgresql.auto.conf").read_text()
    with recovered(data.parent) as lab:
        assert lab.one("SELECT count(*) FROM small") == 1000


def restored_by_hand(site, snapshot, tmp_path):
    """Run the shell lines that a snapshot's page shows, as a person would; returns the data directory."""
    place = tmp_path / "by hand"
    place.mkdir()
    lines = "set -eu\n" + "\n".join(site.repository.by_hand().commands(snapshot))
    assert PASSWORD not in lines
    command = ["sh", "-c", lines]
    if os.geteuid() == 0:
        command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", *command]
    subprocess.run(command, cwd=place, check=True, env={"PATH": os.environ["PATH"], "TZ": "UTC"})
    assert stat.S_IMODE((place / "pgbackrest.conf").stat().st_mode) == 0o600
    return place / "restored" / "pgdata"


def test_a_moment_between_two_writes_gives_exactly_what_was_written_before_it(site, tmp_path):
    cluster = site.cluster
    cluster.sql("DROP TABLE IF EXISTS diary; CREATE TABLE diary (entry text)")
    early = cluster.now()
    snapshot = site.backup()
    moments = []
    wait(lambda: cluster.now() > snapshot.finished_at + timedelta(seconds=1))
    for entry in ("before", "between", "after"):
        cluster.sql(f"INSERT INTO diary VALUES ('{entry}')")
        moments.append(cluster.now())
    with pytest.raises(NotCoveredError):
        site.repository.covering(moments[0])  # its WAL has not left the server yet
    cluster.switch()
    found = {}
    for name, moment in zip(("first", "second"), moments, strict=False):
        assert site.repository.covering(moment) == snapshot
        report = site.restore(snapshot, at=moment, name=name)
        with recovered(report.root) as lab:
            found[name] = [row["entry"] for row in lab.server.rows("SELECT entry FROM diary ORDER BY entry")]
    assert found == {"first": ["before"], "second": ["before", "between"]}
    for outside in (early, cluster.now()):
        with pytest.raises(NotCoveredError) as refused:
            site.repository.covering(outside)
        first, _, last = refused.value.message.partition("covered is ")[2].partition(" to ")
        assert datetime.fromisoformat(first) == snapshot.finished_at + timedelta(seconds=1)
        assert moments[1] < datetime.fromisoformat(last) + timedelta(seconds=1) <= outside + timedelta(minutes=1)


def test_what_archiving_does_is_told(site, postgres_cluster):
    site.backup()
    (line,) = site.repository.health()
    assert line.startswith("WAL archiving: last segment ")
    postgres_cluster.archive_with({"archive_command": "/bin/false"})
    postgres_cluster.sql("SELECT pg_logical_emit_message(true, 'test', 'more'), pg_switch_wal()")
    wait(lambda: postgres_cluster.one("SELECT last_failed_time > last_archived_time FROM pg_stat_archiver"))
    (line,) = site.repository.health()
    assert line.startswith("WAL archiving FAILS at 0000")
    postgres_cluster.archive_with({"archive_command": "/bin/true"})
    wait(lambda: postgres_cluster.one("SELECT last_failed_time < last_archived_time FROM pg_stat_archiver"))
    (line,) = site.repository.health()
    assert re.search(r"last segment \d+ s ago, \d+ failed attempts, the last of them \d+ s before it$", line)
    nobody = replace(site, source={"port": 5433})
    (line,) = nobody.repository.health()
    assert line.startswith("WAL archiving: unknown, PostgreSQL at ")


@pytest.mark.root  # who works for others
def test_root_works_for_the_owner_of_the_cluster(tmp_path_factory):
    owner = pwd.getpwnam("nobody").pw_uid
    root = short_directory(owner)
    (root / "ours").mkdir()
    try:
        root.chmod(0o755)
        with running_cluster(root, owner) as cluster:
            site = PgSite(root / "ours" / "site", cluster).archive()
            site.around.home.mkdir(mode=0o700)
            snapshot = site.backup()
            config = site.around.state / "pgbackrest.conf"
            assert (config.stat().st_uid, stat.S_IMODE(config.stat().st_mode)) == (owner, 0o600)
            assert {path.stat().st_uid for path in site.files.rglob("*")} == {owner}
            assert stat.S_IMODE(site.around.home.stat().st_mode) == 0o711
            report = site.restore(snapshot, name="home/lab")
            with recovered(report.root) as lab:
                assert lab.one(f"SELECT count(*) FROM homelab.canary WHERE run_id = '{snapshot.run_id}'") == 1
            (root / "ours").chmod(0o700)
            with pytest.raises(SourceError, match=r"cannot reach .*let that user pass through"):
                site.backup()
            (root / "ours").chmod(0o755)
    finally:
        shutil.rmtree(root)
