"""Protection is the age of the verified data: in `status`, and in Dagster's own freshness beside it."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from datetime import timedelta

import dagster as dg
import pytest
from fakes import ago, damage, make_fake, policy, taken, vanish

from backup_orchestration.cli.views import show_status
from backup_orchestration.orchestration import names

TARGET = "app/files"
RPO = timedelta(hours=36)  # of a policy that says nothing: once and a half the nightly gap


@pytest.fixture
def status(graph, monkeypatch, capsys):
    """What `homelab backup status --json` says of the target: exit code and row."""
    monkeypatch.setenv("HOMELAB_SETTINGS", str(graph.site.root / "homelab.toml"))

    def ask():
        capsys.readouterr()
        code = show_status([TARGET], as_json=True)
        (row,) = json.loads(capsys.readouterr().out)
        return code, row

    return ask


def test_an_old_snapshot_that_passes_today_is_stale(graph, status):
    snapshot = taken(graph.site, ago(seconds=3 * RPO.total_seconds()))
    assert graph.restore_test(snapshot.key)
    code, row = status()
    assert (code, row["protection"]) == (1, "stale")
    assert row["recovery_point_at"] == f"{snapshot.taken_at:%Y-%m-%dT%H:%M:%SZ}"
    assert row["last_restore_test"]["outcome"] == "passed"
    assert graph.freshness() == "FAIL"
    for _ in range(2):
        assert graph.restore_test(snapshot.key)
    assert status()[1]["protection"] == "stale"
    assert graph.freshness() == "FAIL"


def test_a_new_snapshot_that_is_not_verified_changes_nothing(graph, status):
    old = taken(graph.site, ago(seconds=3 * RPO.total_seconds()))
    assert graph.restore_test(old.key)
    assert graph.backup()
    (new,) = graph.heard.snapshots
    assert status()[1]["protection"] == "stale" and graph.freshness() == "FAIL"
    assert graph.restore_test(new.key)
    code, row = status()
    assert (code, row["protection"], row["reason"]) == (0, "fresh", "")
    assert graph.freshness() == "PASS"


def test_both_sides_of_the_rpo(graph, status):
    """One hour within, and one hour beyond."""
    beyond = taken(graph.site, ago(hours=37))
    assert graph.restore_test(beyond.key)
    assert (status()[1]["protection"], graph.freshness()) == ("stale", "FAIL")
    within = taken(graph.site, ago(hours=35))
    assert graph.restore_test(within.key)
    assert (status()[1]["protection"], graph.freshness()) == ("fresh", "PASS")


def test_never_tested_is_unknown_to_dagster_and_never_to_status(graph, status):
    assert graph.backup()
    code, row = status()
    assert (code, row["protection"], row["recovery_point_at"]) == (1, "never", None)
    assert graph.freshness() == "UNKNOWN"


@pytest.mark.parametrize("lose", [damage, vanish])
def test_losing_the_newest_falls_back_in_both(graph, status, lose):
    old = taken(graph.site, ago(seconds=3 * RPO.total_seconds()))
    new = taken(graph.site, ago(hours=1))
    assert graph.restore_test(old.key) and graph.restore_test(new.key)
    assert (status()[1]["protection"], graph.freshness()) == ("fresh", "PASS")
    lose(graph.site, new)
    assert not graph.restore_test(new.key)
    row = status()[1]
    assert row["recovery_point_at"] == f"{old.taken_at:%Y-%m-%dT%H:%M:%SZ}"
    assert row["protection"] == ("suspect" if lose is damage else "stale")
    assert graph.freshness() == "FAIL"


def test_what_is_reported_by_hand_is_believed_by_nobody(graph, status):
    """ "Report materialization" in the UI paints green; evidence decides, and the next restore test repaints."""
    stale = taken(graph.site, ago(seconds=3 * RPO.total_seconds()))
    assert graph.restore_test(stale.key)
    newest = taken(graph.site, ago(minutes=1))
    graph.instance.add_dynamic_partitions(TARGET, [newest.key])
    before = status()
    by_hand = [
        dg.AssetMaterialization(names.target_key(TARGET)),
        dg.AssetMaterialization(names.verified_key(TARGET), partition=newest.key),
        dg.AssetMaterialization(names.recovery_point_key(TARGET)),
    ]
    for event in by_hand:
        graph.instance.report_runless_asset_event(event)
    assert newest.key in graph.instance.get_materialized_partitions(names.verified_key(TARGET))
    assert status() == before and before[1]["protection"] == "stale"
    assert graph.restore_test(stale.key)
    assert graph.freshness() == "FAIL"
    assert graph.point() == (stale.key, pytest.approx(stale.taken_at.timestamp(), abs=0.001))


def test_dagsters_own_daemon_sees_it(site, dagster_home, open_graph):
    """The real daemon, on one target of each kind."""
    make_fake(site, *map(policy, ("app/fresh", "app/stale", "app/never")), home=dagster_home)
    with open_graph(site) as graph:
        for target, moment in (("app/fresh", ago(hours=1)), ("app/stale", ago(seconds=3 * RPO.total_seconds()))):
            assert graph.restore_test(taken(site, moment, target).key, target)
        keys = {names.recovery_point_key(f"app/{kind}"): kind for kind in ("fresh", "stale", "never")}
        with running_daemon(site):
            deadline = time.monotonic() + 90
            states = {}
            while len(states) < len(keys) and time.monotonic() < deadline:
                time.sleep(0.5)
                found = graph.instance.get_freshness_state_records(list(keys))
                states = {keys[key]: record.freshness_state.value for key, record in found.items()}
    assert states == {"fresh": "PASS", "stale": "FAIL", "never": "UNKNOWN"}


@contextmanager
def running_daemon(site):
    """Dagster's daemon in a session of its own; what it says is in `daemon.log`."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(site.root / ".homelab" / "dagster"),
        "HOMELAB_SETTINGS": str(site.root / "homelab.toml"),
        "FRESHNESS_DAEMON_INTERVAL_SECONDS": "1",
    }
    argv = [sys.executable, "-m", "dagster._daemon", "run", "-m", "backup_orchestration.definitions"]
    with (site.root / "daemon.log").open("w") as log:
        process = subprocess.Popen(argv, env=environment, cwd=site.root, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its code server too, if it is still there
        process.wait()
