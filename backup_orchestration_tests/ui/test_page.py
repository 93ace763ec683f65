"""Acceptance: what a person sees and does on Dagster's page, by a headless browser, on the example lab."""

import pytest
from labs import LOCATION

from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.instance import open_instance

pytestmark = [pytest.mark.tools, pytest.mark.slow, pytest.mark.xdist_group("ui")]


def test_lineage(page):
    page.open(f"/locations/__repository__@{LOCATION}/asset-groups/certs/lineage")
    page.reads("\nca\n", "\nverified\n", "\nrecovery_point\n", "Never materialized", "0 / 1 Passed")


def test_materialize_takes_a_snapshot(lab, page, until):
    assert lab.listed("certs/ca") == []
    page.open("/assets/certs/ca").click("Materialize")
    (row,) = until(lambda: lab.listed("certs/ca"), "a snapshot")
    assert not row["verified"]
    page.open("/assets/certs/ca?view=events").reads("Materialized in run", row["key"], "restic restore")
    page.open("/assets/certs/ca/verified?view=partitions").reads(row["key"], "Missing (1)")


def test_a_backfill_over_three_missing_snapshots(lab, page, until):
    """Started on the page of `verified`; one of them is damaged: green, green, red, by key."""
    target = "gitlab/config"
    keys = [lab.take(target), lab.take(target, size=1000), lab.take_damaged(target)]
    page.open(f"/assets/{target}/verified").click("Materialize")
    page.reads("Launch runs to materialize")
    page.click("Missing")
    page.reads("3 partitions")
    page.click("Launch backfill")

    def colours():
        page.open(f"/assets/{target}/verified?view=partitions").reads(*keys)
        return [page.dot(key) for key in keys]

    until(lambda: "grey" not in colours() and "blue" not in colours(), colours)
    assert colours() == ["green", "green", "red"]
    verified = {row["key"]: row["verified"] for row in lab.listed(target)}
    assert [verified[key] for key in keys] == [True, True, False]
    page.open(f"/assets/{target}/verified?view=partitions&partition={keys[2]}")


def test_nobody_can_materialize_the_recovery_point(page):
    page.open("/assets/certs/ca/recovery_point").reads("External Asset")
    assert not page.button("Materialize").is_enabled()
    assert page.open("/assets/certs/ca").button("Materialize").is_enabled()


def test_a_report_by_hand_changes_nothing_and_is_named(lab, page, until):
    """ "Report materialization" paints green; `status` and alerts do not move, and the ledger's report names it."""
    target = "grafana/db"
    key = lab.take(target)
    alerts = until(lambda: lab.webhook.of(target), "the alert that nothing is verified")
    before = lab.status(target)
    assert (before["protection"], alerts) == ("never", ["never"])
    for asset, partition in ((f"{target}/verified", key), (f"{target}/recovery_point", None)):
        page.open(f"/assets/{asset}").menu("Materialize", "Report materialization event")
        if partition:
            page.reads("Partition selection")
            page.click("All")
            page.reads("1 partition")
        page.click("Report event")
        page.no_longer_reads("Report event\n")
    until(
        lambda: page.open(f"/assets/{target}/verified?view=partitions").reads(key) and page.dot(key) == "green", "green"
    )
    until(lambda: page.freshness(target) == "Passing", "Passing")  # Dagster believes it
    _wait_for_ticks(lab, until)
    assert lab.status(target) == before
    assert lab.webhook.of(target) == ["never"]
    said = lab.cli("backup", "ledger", "--target", target, expect=1)
    assert f"{target}/verified: {key}: a restore test was reported by hand at 20" in said
    assert "by evidence it is untested" in said
    assert f"{target}/recovery_point: a recovery point was reported by hand at 20" in said
    assert "there is no recovery point" in said


def _wait_for_ticks(lab, until):
    """Let the alerts' sensor look twice more."""
    with open_instance(lab.homelab) as instance:

        def ticks():
            states = [state for state in instance.all_instigator_state() if state.instigator_name == "alerts"]
            return len(instance.get_ticks(states[0].instigator_origin_id, states[0].selector_id))

        before = ticks()
        until(lambda: ticks() >= before + 2, "two ticks")
        assert instance.get_latest_materialization_event(names.recovery_point_key("grafana/db"))
