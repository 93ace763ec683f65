"""Pruning with the real pgBackRest; its matrix of kills is in `slow/test_prune_kill.py`."""

import random
import shutil
from dataclasses import replace

import pytest
from prunings import KILLED, first_segment, kill_pg_prune, lying, oldest_needed, pg_plan, pg_prune

from backup_orchestration.core.errors import RepositoryError, ToolLiedError
from backup_orchestration.providers._pgbackrest_cli import PgBackRestCli
from backup_orchestration_tests.postgres_cluster import recovered
from backup_orchestration_tests.tools.pg_sites import PgSite

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]


@pytest.fixture(scope="module")
def grown(tmp_path_factory, postgres_cluster):
    """A full, an incremental on it, a full, and two incrementals, of which the second also builds on the first."""
    site = PgSite(tmp_path_factory.mktemp("grown") / "site", postgres_cluster, source={"backup": "incr"}).archive()
    made = [site.backup(reread=number in (0, 2)) for number in range(5)]
    assert [item.key[-1] for item in made] == ["F", "I", "F", "I", "I"]
    return site, made


@pytest.fixture
def site(grown, tmp_path):
    """A copy of it."""
    return copy_of(grown[0], tmp_path)


def copy_of(kept, tmp_path):
    copy = PgSite(tmp_path / "site", kept.cluster, source=kept.source)
    shutil.copytree(kept.root / "backups", copy.root / "backups", symlinks=True)
    return copy


def test_sets_go_with_their_wal_and_the_rest_comes_back(site, grown):
    made = grown[1]
    wanted = pg_plan(site, 1)
    assert [item.reasons for item in wanted.decisions[1:3]] == [(f"needed by {made[4].key}",)] * 2
    assert [item.key for item in wanted.removed] == [made[1].key, made[0].key]
    before = first_segment(site)
    done = pg_prune(site, wanted)
    assert [item.key for item in done.removed] == [made[1].key, made[0].key]
    assert lying(site) == [item.snapshot_id for item in made[2:]]
    assert before < first_segment(site) == oldest_needed(site)
    for item in made[2:]:
        with recovered(site.restore(item, name=f"lab-{item.snapshot_id}").root) as lab:
            assert lab.one(f"SELECT count(*) FROM homelab.canary WHERE run_id = '{item.run_id}'") == 1
    assert pg_prune(site, pg_plan(site, 1)).removed == ()


def test_a_set_that_the_plan_does_not_know_is_not_taken_along(site, grown):
    made = grown[1]
    unaware = pg_plan(site, 1)
    unaware = replace(unaware, decisions=tuple(item for item in unaware.decisions if item.snapshot.key != made[1].key))
    with pytest.raises(RepositoryError, match=f"{made[1].snapshot_id} stays and builds on {made[0].snapshot_id}"):
        pg_prune(site, unaware)
    assert lying(site) == [item.snapshot_id for item in made]


def test_a_set_that_is_not_in_the_list_is_named(site, grown):
    made = grown[1]
    assert site.repository.unlisted() == []
    place = site.files / "backup" / "shop-db"
    shutil.copytree(place / made[0].snapshot_id, place / "20260101-020000F")
    (line,) = site.repository.unlisted()
    assert line.startswith("20260101-020000F lies in ") and line.endswith(" and is not in backup.info")
    (place / "20260101-020000F" / "backup.manifest").unlink()  # a backup that was broken off
    assert site.repository.unlisted() == []


def test_the_call_for_wal_is_not_let_loose_where_it_would_take_a_set(site, grown, monkeypatch):
    """A full that came between the count and the call: the count is one too low then."""
    query = PgBackRestCli.query

    def one_too_few(cli, *arguments, **more):
        return query(cli, *(word.replace("retention-full=2", "retention-full=1") for word in arguments), **more)

    monkeypatch.setattr(PgBackRestCli, "query", one_too_few)
    with pytest.raises(ToolLiedError, match=f"would remove {grown[1][0].snapshot_id}.* instead of WAL alone"):
        pg_prune(site, pg_plan(site, 5))
    assert len(lying(site)) == 5


def test_it_is_killed_and_repeated(site, matrix):
    matrix(KILLED, *kill_pg_prune(site, random.Random(5), 0.3, keep_last=1))
