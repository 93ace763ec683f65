"""The recovery point in Dagster: the newest verified snapshot that exists, stamped with the age of its data.

Reporting an event with a timestamp of our own is not public in Dagster 1.13. These tests hold that call: if a new
version ignores or refuses the timestamp, they fail.
"""

import pytest
from fakes import ago, behave, damage, stored, taken, vanish

from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.operations.status import recovery_point_after
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.recovery_point import report_recovery_point


def snapshot_of(moment):
    return Snapshot("app/files", "fake", "/nowhere", "id", "0123456789abcdef", moment, 1)


@pytest.mark.parametrize("hours", [0, 30, 24 * 365 * 5])
def test_a_reported_point_carries_the_time_of_the_data(graph, hours):
    moment = ago(hours=hours)
    report_recovery_point(graph.instance, "app/files", snapshot_of(moment), "a run")
    key, timestamp = graph.point()
    assert key == snapshot_of(moment).key
    assert timestamp == pytest.approx(moment.timestamp(), abs=0.001)
    record = graph.instance.get_asset_records([names.recovery_point_key("app/files")])[0]
    assert record.asset_entry.last_materialization.timestamp == pytest.approx(moment.timestamp(), abs=0.001)


def test_an_older_report_replaces_a_newer_one(graph):
    """Dagster takes what was reported last, not what is stamped last: a point can fall back."""
    for hours in (1, 50):
        report_recovery_point(graph.instance, "app/files", snapshot_of(ago(hours=hours)), "a run")
    assert graph.point()[1] == pytest.approx(ago(hours=50).timestamp(), abs=60)


def test_a_restore_test_stamps_the_point_with_taken_at(graph):
    snapshot = taken(graph.site, ago(hours=5))
    assert graph.restore_test(snapshot.key)
    assert graph.point() == (snapshot.key, pytest.approx(snapshot.taken_at.timestamp(), abs=0.001))


def test_testing_an_older_snapshot_does_not_move_the_point_back(graph):
    old, new = taken(graph.site, ago(hours=9)), taken(graph.site, ago(hours=2))
    assert graph.restore_test(new.key) and graph.restore_test(old.key)
    assert graph.point()[0] == new.key


def test_the_point_is_void_until_it_has_passed_again_when_a_newer_one_rots(graph):
    """Snapshots share data: the older pass may be of data that has rotted as well."""
    old, new = taken(graph.site, ago(hours=9)), taken(graph.site, ago(hours=2))
    assert graph.restore_test(old.key) and graph.restore_test(new.key)
    damage(graph.site, new)
    assert not graph.restore_test(new.key)
    key, timestamp = graph.point()
    assert key == "none" and timestamp < ago(days=365 * 40).timestamp()
    assert graph.freshness() == "FAIL"
    assert graph.restore_test(old.key)
    assert graph.point() == (old.key, pytest.approx(old.taken_at.timestamp(), abs=0.001))
    assert graph.freshness() == "PASS"


def test_the_point_falls_back_when_its_snapshot_vanishes(graph):
    old, new = taken(graph.site, ago(hours=9)), taken(graph.site, ago(hours=2))
    assert graph.restore_test(old.key) and graph.restore_test(new.key)
    vanish(graph.site, new)
    assert graph.restore_test(old.key)
    assert graph.point()[0] == old.key


def test_a_snapshot_that_vanishes_while_another_is_tested_is_no_point(graph):
    """It was listed before the test, and is asked for after it."""
    old, new = taken(graph.site, ago(hours=9)), taken(graph.site, ago(hours=2))
    assert graph.restore_test(new.key)
    behave(graph.site, app_files={"restore_child": ["rm", "-rf", str(stored(graph.site, new))]})
    assert graph.restore_test(old.key)
    assert graph.point()[0] == old.key


def test_the_repository_is_not_asked_again_for_what_was_just_restored(graph):
    old, new = taken(graph.site, ago(hours=9)), taken(graph.site, ago(hours=2))
    first, second = graph.site.restore_test(key=old.key), graph.site.restore_test(key=new.key)
    vanish(graph.site, new)
    assert recovery_point_after(graph.site.homelab, second, (old, new)) == new
    assert recovery_point_after(graph.site.homelab, first, (old, new)) == old
    failed = second.model_copy(update={"passed": False})
    assert recovery_point_after(graph.site.homelab, failed, (old, new)) == old


def test_asking_for_the_vanished_snapshot_itself_moves_the_point_too(graph):
    """Nobody needs to know another snapshot to test: the failing run has looked."""
    old, new = taken(graph.site, ago(hours=9)), taken(graph.site, ago(hours=2))
    assert graph.restore_test(old.key) and graph.restore_test(new.key)
    vanish(graph.site, new)
    assert not graph.restore_test(new.key)
    assert graph.point()[0] == old.key


@pytest.mark.parametrize("lose", [damage, vanish])
def test_without_any_verified_snapshot_the_point_is_of_long_ago(graph, lose):
    only = taken(graph.site, ago(hours=1))
    assert graph.restore_test(only.key)
    lose(graph.site, only)
    assert not graph.restore_test(only.key)
    key, timestamp = graph.point()
    assert key == "none" and timestamp < ago(days=365 * 40).timestamp()


def test_a_backup_alone_reports_no_point(graph):
    assert graph.backup()
    assert graph.materialization(names.recovery_point_key("app/files")) is None
