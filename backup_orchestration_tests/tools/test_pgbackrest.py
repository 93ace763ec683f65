"""pgBackRest for real: a cluster is backed up, restored, and started on what came back."""

from __future__ import annotations

import pytest

from backup_orchestration_tests.postgres_cluster import recovered
from backup_orchestration_tests.tools.pg_sites import PgSite

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]


@pytest.fixture
def site(tmp_path, postgres_cluster):
    return PgSite(tmp_path / "site", postgres_cluster).archive()


def test_what_is_backed_up_comes_back_and_holds_the_canary(site):
    facts = {"sql": {"rows": {"public.t": 3}, "odd": 'it\'s \\ "quoted" :name\n%'}}
    snapshot = site.backup(facts)
    assert [item.key for item in site.repository.snapshots()] == [snapshot.key]
    report = site.restore(snapshot)
    with recovered(report.root) as lab:
        row = lab.server.rows(f"SELECT facts FROM homelab.canary WHERE run_id = '{snapshot.run_id}'")
        assert row == [{"facts": facts}]
    print(snapshot, report)
