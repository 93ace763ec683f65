"""Reconciliation in Dagster: partitions, green and recovery points follow repositories and evidence."""

import json
import shutil
from datetime import UTC, datetime

import dagster as dg
import pytest
from fakes import ago, behave, damage, make_fake, policy, stored, taken, vanish

from backup_orchestration.core.errors import StoreError
from backup_orchestration.operations import noting
from backup_orchestration.operations.alerts import alerts_between
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.build import build_definitions
from backup_orchestration.orchestration.ledger import contradictions_in
from backup_orchestration.orchestration.sensors import _states

TARGET = "app/files"
VERIFIED = names.verified_key(TARGET)


def reconcile(graph, target=TARGET):
    return graph.reconcile(target)


def found(graph):
    """Of the last reconciliation what was lost, as kind and key."""
    ((done, _),) = graph.heard.reconciliations
    return [(item.what, item.key) for item in done.findings]


def partitions(graph):
    return list(graph.instance.get_dynamic_partitions(TARGET))


def materializations(graph):
    keys = (VERIFIED, names.recovery_point_key(TARGET))
    return [len(graph.instance.fetch_materializations(key, limit=100).records) for key in keys]


def marks(graph):
    records = graph.instance.fetch_observations(VERIFIED, limit=10).records
    seen = [record.event_log_entry.asset_observation for record in records]
    return {(item.partition, item.metadata["state"].value) for item in seen}


def tick(graph, cursor=None):
    sensor = build_definitions(graph.site.homelab).get_repository_def().get_sensor_def("reconcile")
    with dg.build_sensor_context(instance=graph.instance, cursor=cursor) as context:
        result = sensor.evaluate_tick(context)
    return [request.run_key for request in result.run_requests], result.cursor


@pytest.fixture
def three(graph):
    """Three snapshots, taken and tested as runs, the newest of them untested."""
    site = graph.site
    made = [taken(site, ago(hours=hours)) for hours in (9, 6, 3)]
    graph.instance.add_dynamic_partitions(TARGET, [item.key for item in made])
    for item in made[:2]:
        assert graph.restore_test(item.key)
    return made


def test_an_empty_dagster_home_is_rebuilt(graph, three, open_graph, dagster_home):
    """Acceptance 8.4: the home is deleted; afterwards status, partitions, green, point and freshness are as before."""
    site = graph.site
    damage(site, three[0])
    assert not graph.restore_test(three[0].key)
    assert graph.restore_test(three[1].key)
    before = site.judge(), partitions(graph), graph.instance.get_materialized_partitions(VERIFIED) - {three[0].key}
    point, freshness = graph.point(), graph.freshness()
    ledger_before = contradictions_in(graph.instance, TARGET, site.judge())
    shutil.rmtree(site.root / ".homelab")
    (site.root / ".homelab").mkdir(mode=0o700)
    shutil.copytree(dagster_home, site.root / ".homelab" / "dagster")
    with open_graph(site) as new:
        assert partitions(new) == []
        assert tick(new)[0] == ["reconcile-app/files-4"]
        assert reconcile(new) and found(new) == []
        after = site.judge(), partitions(new), new.instance.get_materialized_partitions(VERIFIED)
        assert after[0].verdicts == before[0].verdicts and after[0].recovery_point == before[0].recovery_point
        assert after[0].protection == before[0].protection
        assert after[1:] == before[1:]
        assert (new.point(), new.freshness()) == (point, freshness)
        assert contradictions_in(new.instance, TARGET, site.judge()) == ledger_before == []
        assert tick(new)[0] == []


def test_what_others_took_gets_a_partition_and_nothing_is_done_twice(graph, three):
    other = taken(graph.site, ago(hours=1))
    assert graph.site.restore_test(key=other.key).passed
    assert tick(graph)[0] == ["reconcile-app/files-3"]
    assert reconcile(graph)
    assert partitions(graph)[-1] == other.key and graph.point()[0] == other.key
    shown = materializations(graph)
    assert reconcile(graph)
    assert materializations(graph) == shown


def test_a_snapshot_that_vanished_is_marked_and_the_point_falls_back(graph, three):
    vanish(graph.site, three[1])
    assert not reconcile(graph)
    assert found(graph) == [("vanished", three[1].key)]
    assert partitions(graph) == [item.key for item in three]
    assert marks(graph) == {(three[1].key, "vanished")}
    assert graph.point()[0] == three[0].key
    assert "is no longer in the repository; it passed a restore test" in graph.last_failure
    assert reconcile(graph) and found(graph) == []  # it is written down


def test_what_vanished_and_came_back_must_be_tested_again(graph, three):
    away = graph.site.root / "away"
    shutil.move(stored(graph.site, three[1]), away)
    assert not reconcile(graph)
    shutil.move(away, stored(graph.site, three[1]))
    assert graph.site.judge().verdicts[three[1].key] == "untested"
    assert not reconcile(graph)  # Dagster shows a pass of which no evidence counts
    assert graph.restore_test(three[1].key)
    assert reconcile(graph) and graph.point()[0] == three[1].key


def test_a_failure_stays_one_when_its_snapshot_comes_back(graph, three):
    damage(graph.site, three[0])
    assert not graph.restore_test(three[0].key)
    away = graph.site.root / "away"
    shutil.move(stored(graph.site, three[0]), away)
    assert not reconcile(graph)
    shutil.move(away, stored(graph.site, three[0]))
    assert graph.site.judge().suspect_keys == (three[0].key,)


def test_a_snapshot_of_another_size_loses_its_pass(graph, three):
    facts = stored(graph.site, three[1]) / "facts.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "bytes": 1}))
    assert not reconcile(graph)
    assert found(graph) == [("changed", three[1].key)] and marks(graph) == {(three[1].key, "changed")}
    assert graph.point()[0] == three[0].key
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "bytes": three[1].size_bytes}))
    assert graph.site.judge().recovery_point.key == three[0].key


def test_a_repository_that_was_made_anew_is_called_so(graph, three):
    (graph.site.root / "backups" / "fake-app-files" / "id").write_text("another")
    assert not reconcile(graph)
    assert found(graph) == [("changed", item.key) for item in three[:2]]
    assert graph.point()[0] == "none"
    vanish(graph.site, three[0])
    assert not reconcile(graph)
    assert "which was made anew" in graph.last_failure


@pytest.mark.parametrize("how", ["fails", "is missing", "is cut short"])
def test_what_does_not_answer_is_no_evidence_of_absence(graph, three, how):
    site, place = graph.site, graph.site.root / "backups" / "fake-app-files"
    if how == "fails":
        behave(site, app_files={"list_error": "the store is away"})
    elif how == "is missing":
        place.rename(site.root / "elsewhere")
    else:
        behave(site, app_files={"unlisted": ["one file cannot be read"]})
        shutil.move(stored(site, three[1]), site.root / "away")
    evidence = sorted((site.root / "evidence").rglob("*.evidence"))
    assert not reconcile(graph)
    assert sorted((site.root / "evidence").rglob("*.evidence")) == evidence
    assert partitions(graph) == [item.key for item in three] and marks(graph) == set()
    if how == "fails":
        assert graph.point()[0] == three[1].key
        behave(site)
    elif how == "is missing":
        assert "remembered snapshots of app/files: 3; nothing was changed" in graph.last_failure
        (site.root / "elsewhere").rename(place)
    else:
        assert f"whether {three[1].key} vanished is not known" in graph.last_failure
        behave(site)
        shutil.move(site.root / "away", stored(site, three[1]))
    assert reconcile(graph)
    assert graph.point()[0] == three[1].key  # nothing was lost


def test_what_retention_removed_is_no_loss_also_where_its_run_was_killed(site, dagster_home, open_graph):
    keep = "__import__('backup_orchestration').Retention(keep_last=1, keep_daily=0, keep_weekly=0, keep_monthly=0)"
    declared = policy().replace('provider="fake"', f'provider="fake", retention={keep}')
    with open_graph(make_fake(site, declared, home=dagster_home)) as graph:
        made = [taken(site, ago(days=days)) for days in (2, 1)]
        graph.instance.add_dynamic_partitions(TARGET, [item.key for item in made])
        assert graph.restore_test(made[0].key) and graph.restore_test(made[1].key)
        assert graph.prune(force=1)
        graph.instance.add_dynamic_partitions(TARGET, [made[0].key])  # as if it had been killed before this went
        assert reconcile(graph) and found(graph) == []
        assert partitions(graph) == [made[1].key]
        shutil.rmtree(site.root / ".homelab" / "dagster")
        shutil.copytree(dagster_home, site.root / ".homelab" / "dagster")
        with open_graph(site) as new:
            assert reconcile(new) and found(new) == []


def test_nothing_is_pruned_of_which_it_could_not_be_written_down(site, dagster_home, open_graph, monkeypatch):
    keep = "__import__('backup_orchestration').Retention(keep_last=1, keep_daily=0, keep_weekly=0, keep_monthly=0)"
    declared = policy().replace('provider="fake"', f'provider="fake", retention={keep}')
    with open_graph(make_fake(site, declared, home=dagster_home)) as graph:
        made = [taken(site, ago(days=days)) for days in (2, 1)]
        assert graph.restore_test(made[1].key)

        def refuse(*_):
            raise StoreError("the evidence cannot be written")

        monkeypatch.setattr(noting, "_note", refuse)
        assert not graph.prune(force=1)
        assert [item.key for item in site.homelab.repository(TARGET).snapshots()] == [item.key for item in made]


def test_what_is_taken_and_tested_while_it_looks_is_no_loss(graph, three, monkeypatch):
    """The partitions and the evidence are read before the list."""
    repository = type(graph.site.homelab.repository(TARGET))
    real = repository.listing

    def slow(self):
        listing = real(self)
        new = taken(graph.site, ago(minutes=1))
        graph.instance.add_dynamic_partitions(TARGET, [new.key])
        assert graph.site.restore_test(key=new.key).passed
        return listing

    monkeypatch.setattr(repository, "listing", slow)
    assert reconcile(graph) and found(graph) == []


def test_the_webhook_is_told_of_what_vanished(graph, three):
    store = graph.site.homelab.evidence()
    before = _states(graph.site.homelab, store, graph.instance, [TARGET])
    for item in three[:2]:
        vanish(graph.site, item)
    assert not reconcile(graph)
    now = _states(graph.site.homelab, store, graph.instance, [TARGET])
    told = {alert.event: alert.text for alert in alerts_between(before, now)}
    assert set(told) == {"snapshot vanished", "never"}
    assert told["snapshot vanished"].startswith(
        f"{TARGET}: snapshot vanished: {three[1].key} (and 1 more) is no longer"
    )


def test_once_a_day_every_target_is_looked_at(graph):
    schedule = build_definitions(graph.site.homelab).get_repository_def().get_schedule_def("reconcile_daily")
    moment = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)
    with dg.build_schedule_context(instance=graph.instance, scheduled_execution_time=moment) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.run_config["ops"]["hold_against_repository"]["config"] == {"target": TARGET}
    assert request.tags[names.TARGET_TAG] == TARGET
    assert reconcile(graph)  # of which nobody knows anything yet


def test_each_repository_is_listed_once(graph, three):
    listed = graph.site.root / "listed.jsonl"
    listed.unlink()
    assert reconcile(graph)
    assert len(listed.read_text().splitlines()) == 1
