"""The ledger's report: what Dagster shows and evidence does not bear out is named, and nothing else is."""

import shutil

import dagster as dg
import pytest
from fakes import ago, damage, taken, vanish

from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.ledger import contradictions_in

TARGET = "app/files"
VERIFIED = f"{TARGET}/verified"
POINT = f"{TARGET}/recovery_point"


@pytest.fixture
def ledger(graph):
    return lambda: [
        (item.asset, item.key, item.shown) for item in contradictions_in(graph.instance, TARGET, graph.site.judge())
    ]


def test_honest_runs_contradict_nothing(graph, ledger):
    assert ledger() == []
    assert graph.backup()
    old = taken(graph.site, ago(hours=5))
    for key in (None, old.key):
        assert graph.restore_test(key)
    assert ledger() == []
    damage(graph.site, old)
    assert not graph.restore_test(old.key)
    assert graph.restore_test()
    assert ledger() == []


@pytest.mark.parametrize("tested", [False, True])
def test_a_restore_test_reported_by_hand(graph, ledger, tested):
    snapshot = taken(graph.site, ago(hours=1))
    graph.instance.add_dynamic_partitions(TARGET, [snapshot.key])
    if tested:
        assert graph.restore_test(snapshot.key)
    graph.instance.report_runless_asset_event(
        dg.AssetMaterialization(names.verified_key(TARGET), partition=snapshot.key)
    )
    ((asset, key, shown),) = ledger()
    assert (asset, key) == (VERIFIED, snapshot.key)
    assert "reported by hand at 20" in shown and shown.endswith("verified" if tested else "untested")


def test_a_restore_test_of_a_snapshot_that_does_not_exist(graph, ledger):
    assert graph.backup()
    graph.instance.add_dynamic_partitions(TARGET, ["20200101T000000Z-deadbeef"])
    graph.instance.report_runless_asset_event(
        dg.AssetMaterialization(names.verified_key(TARGET), partition="20200101T000000Z-deadbeef")
    )
    ((_, key, shown),) = ledger()
    assert key == "20200101T000000Z-deadbeef" and "no such snapshot" in shown


def test_a_backup_reported_by_hand(graph, ledger):
    assert graph.backup()
    graph.instance.report_runless_asset_event(dg.AssetMaterialization(names.target_key(TARGET)))
    ((asset, _, shown),) = ledger()
    assert asset == TARGET and "nothing was stored" in shown
    assert graph.backup()
    assert ledger() == []


def test_a_recovery_point_reported_by_hand(graph, ledger):
    snapshot = taken(graph.site, ago(hours=1))
    assert graph.restore_test(snapshot.key)
    graph.instance.report_runless_asset_event(dg.AssetMaterialization(names.recovery_point_key(TARGET)))
    ((asset, _, shown),) = ledger()
    assert asset == POINT and f"the recovery point is {snapshot.key}" in shown
    assert graph.restore_test(snapshot.key)
    assert ledger() == []


def test_a_recovery_point_that_has_vanished_since(graph, ledger):
    old, new = taken(graph.site, ago(hours=9)), taken(graph.site, ago(hours=2))
    assert graph.restore_test(old.key) and graph.restore_test(new.key)
    vanish(graph.site, new)
    ((asset, _, shown),) = ledger()
    assert (asset, shown) == (POINT, f"it shows {new.key}; the recovery point is {old.key}")


def test_evidence_that_is_lost_after_a_green_run(graph, ledger):
    snapshot = taken(graph.site, ago(hours=1))
    assert graph.restore_test(snapshot.key)
    shutil.rmtree(graph.site.root / "evidence")
    found = {(asset, key) for asset, key, _ in ledger()}
    assert found == {(VERIFIED, snapshot.key), (POINT, "")}
