"""Backups and restore tests of a cluster, whole: with the lab, the probes and the evidence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.core.status import Protection, Verdict
from backup_orchestration.operations.status import status
from backup_orchestration_tests.postgres_cluster import wait

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]

POLICY = """\
BackupPolicy(target="shop/db", provider="pgbackrest", source=Postgres(data={data!r}, socket={socket!r}),
    restore_test=RestoreTest(probes=[Probe(name="sql", options={{"queries": [
        {{"query": "SELECT string_agg(entry, ' ') FROM public.moments", "equals": "before"}}]}})]))"""


def test_a_moment_is_restored_and_verifies_no_more_than_itself(site, postgres_cluster):
    cluster = postgres_cluster
    site.declare(POLICY.format(data=str(cluster.data), socket=str(cluster.socket)))
    cluster.archive_with(dict(site.homelab.repository("shop/db").archive_settings()))
    # Rows that are gone at the moment that is asked for: there is no fault in that.
    cluster.sql("DROP TABLE IF EXISTS moments; CREATE TABLE moments AS VALUES ('at first'), ('and'), ('more')")
    cluster.sql("ALTER TABLE moments RENAME column1 TO entry")
    snapshot = site.backup("shop/db")
    wait(lambda: cluster.now() > snapshot.finished_at + timedelta(seconds=1))
    cluster.sql("DELETE FROM moments; INSERT INTO moments VALUES ('before')")
    moment = cluster.now()
    cluster.sql("INSERT INTO moments VALUES ('after')")
    cluster.switch()

    done = site.cli("backup", "restore-test", "--target", "db", "--at", moment.isoformat())
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{snapshot.key} at {rfc3339(moment)}: restore test passed" in done.stdout
    found = site.judge("shop/db")
    assert found.last_test.at == moment
    assert found.verdicts[snapshot.key] is Verdict.UNTESTED
    assert found.protection is Protection.NEVER

    # The snapshot itself holds another row: its test fails, and no pass at a moment makes up for it.
    evidence = site.restore_test("shop/db")
    assert (evidence.passed, evidence.at) == (False, None)
    assert "'at first and more'" in evidence.reason
    again = evidence.model_copy(update={"at": moment, "passed": True})
    site.homelab.evidence().append(again)
    assert site.judge("shop/db").protection is Protection.SUSPECT
    (told,) = status(site.homelab, ["shop/db"])
    assert "; WAL archiving: last segment " in told.reason


@pytest.mark.parametrize("text", ["yesterday", "2026-11-25T02:30:00"])
def test_a_moment_needs_a_zone(site, text):
    done = site.cli("backup", "restore-test", "--target", "app/files", "--at", text)
    assert done.returncode == 2
    assert "is no moment with a time zone" in done.stderr


def test_files_have_no_moments_in_between(site):
    done = site.cli("backup", "restore-test", "--target", "app/files", "--at", "2026-11-25T02:30:00Z")
    assert done.returncode == 2
    assert "no moment between them such as 2026-11-25T02:30:00Z" in done.stderr
    done = site.cli(
        "backup", "restore-test", "--target", "app/files", "--snapshot", "x", "--at", "2026-11-25T02:30:00Z"
    )
    assert done.returncode == 2
