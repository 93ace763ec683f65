"""Acceptance: Dagster's freshness, `status` and the alert say the same of a target at every step of its life."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from labs import LOCATION, RPO

from backup_orchestration.operations.backup import backup

pytestmark = [pytest.mark.tools, pytest.mark.slow, pytest.mark.xdist_group("ui")]

TARGET = "app/files"
# How long a snapshot stays fresh that is dated just inside of the RPO: the lab's clocks tick every half minute.
_LEFT = timedelta(seconds=120)

# What the page says of a target that `status` calls so. Whatever is not proved and fresh does not pass.
PAGE = {"fresh": "Passing", "stale": "Failed", "suspect": "Failed", "never": "Not evaluated"}

_LAUNCH = """
mutation ($job: String!, $location: String!, $key: String!) {
  launchRun(executionParams: {
    selector: {repositoryName: "__repository__", repositoryLocationName: $location, jobName: $job,
               assetSelection: [{path: ["app", "files", "verified"]}]},
    executionMetadata: {tags: [{key: "dagster/partition", value: $key}]}}) { __typename }
}"""
_STATE = """
query ($sensor: SensorSelector!) {
  sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { id } } }
}"""
_START = "mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"
_STOP = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
_AGAIN = {
    "repositoryName": "__repository__",
    "repositoryLocationName": LOCATION,
    "sensorName": "test_recovery_point_again",
}


@pytest.fixture
def agrees(lab, page, until):
    """Waits until the page, `status` and the last alert say this, and nothing else was told meanwhile."""
    told = []

    def check(protection, *alerts):
        told.extend(alerts)
        row = lab.status(TARGET)
        assert row["protection"] == protection, row
        until(lambda: len(lab.webhook.of(TARGET)) >= len(told), lambda: (told, lab.webhook.of(TARGET)))
        assert lab.webhook.of(TARGET) == told
        until(lambda: page.freshness(TARGET) == PAGE[protection], lambda: page.freshness(TARGET))
        row = lab.status(TARGET)
        assert row["protection"] == protection, row
        return row

    return check


def take_dated(lab, moment):
    """A snapshot whose data is as of a moment that has passed."""
    homelab = replace(lab.homelab, now=lambda: moment)
    return backup(homelab, TARGET, f"dated-{moment:%s}").key


def test_page_status_and_alert_agree(lab, page, until, agrees):
    agrees("never", "never")

    moment = datetime.now(UTC) - RPO + _LEFT
    take_dated(lab, moment)
    lab.cli("backup", "restore-test", "--target", TARGET)
    assert agrees("fresh", "recovered")["recovery_point_at"] == f"{moment:%Y-%m-%dT%H:%M:%SZ}"

    until(lambda: datetime.now(UTC) > moment + RPO, "the RPO")
    agrees("stale", "stale")

    good = lab.take(TARGET, size=1000)
    lab.cli("backup", "restore-test", "--target", TARGET)
    point = agrees("fresh", "recovered")["recovery_point_at"]

    # Nobody tests the recovery point again while its sensor is stopped: the target stays suspect.
    lab.ask(_STOP, id=lab.ask(_STATE, sensor=_AGAIN)["sensorOrError"]["sensorState"]["id"])
    damaged = lab.take_damaged(TARGET)
    launched = lab.ask(_LAUNCH, job="__ASSET_JOB", location=LOCATION, key=damaged)
    assert launched["launchRun"]["__typename"] == "LaunchRunSuccess"
    until(lambda: lab.status(TARGET)["protection"] == "suspect", "the failed restore test")
    agrees("suspect", "restore test failed", "suspect")

    lab.ask(_START, sensor=_AGAIN)
    until(lambda: lab.status(TARGET)["protection"] == "fresh", "the second test of the recovery point")
    row = agrees("fresh", "recovered")  # fallen back to the snapshot before
    assert row["recovery_point_at"] == point and row["last_restore_test"]["key"] == good
    page.open("/assets/app/files/recovery_point").reads(good)
