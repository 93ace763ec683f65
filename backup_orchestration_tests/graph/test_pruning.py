"""Retention in Dagster: its run, and what asks for one by itself."""

import json
from datetime import UTC, datetime

import dagster as dg
import pytest
from fakes import ago, behave, damage, make_fake, policy, taken

from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.build import build_definitions

TARGET = "app/files"
KEEP_ONE = "__import__('backup_orchestration').Retention(keep_last=1, keep_daily=0, keep_weekly=0, keep_monthly=0)"


@pytest.fixture
def graph(site, dagster_home, open_graph):
    """`app/files` keeps one snapshot; four were taken, and the two newest are verified."""
    declared = policy().replace('provider="fake"', f'provider="fake", retention={KEEP_ONE}')
    with open_graph(make_fake(site, declared, home=dagster_home)) as found:
        site.made = [taken(site, ago(days=days)) for days in (4, 3, 2, 1)]
        found.instance.add_dynamic_partitions(TARGET, [item.key for item in site.made])
        for item in site.made[2:]:
            assert site.restore_test(key=item.key).passed
        yield found


def definition(graph, kind, name):
    repository = build_definitions(graph.site.homelab).get_repository_def()
    return getattr(repository, f"get_{kind}_def")(name)


def tick(graph, cursor=None):
    """What the sensor asks for, and its new cursor."""
    with dg.build_sensor_context(instance=graph.instance, cursor=cursor) as context:
        found = definition(graph, "sensor", "retention").evaluate_tick(context)
    return found.run_requests, found.cursor


def test_a_run_removes_partitions_with_snapshots_and_shows_what_was_kept_and_why(graph):
    made = graph.site.made
    assert graph.prune(force=3)
    (done,) = graph.heard.prunings
    assert [item.key for item in done.report.removed] == [item.key for item in made[2::-1]]
    assert list(graph.instance.get_dynamic_partitions(TARGET)) == [made[3].key]
    (output,) = [
        entry.dagster_event.step_output_data
        for entry in graph.instance.all_logs(graph.last_run.run_id)
        if entry.dagster_event and entry.dagster_event.event_type_value == "STEP_OUTPUT"
    ]
    shown = {name: value.value for name, value in output.metadata.items()}
    assert (shown["target"], shown["kept"], shown["removed"], shown["halted"]) == (TARGET, 1, 3, "no")
    assert f"| {made[3].key} | kept | last snapshot, recovery point |" in shown["decisions"]
    assert f"| {made[0].key} | removed |  |" in shown["decisions"]
    assert graph.last_run.tags[names.TARGET_TAG] == TARGET


def test_a_run_over_the_cap_fails_and_removes_nothing(graph):
    assert not graph.prune()
    (error,) = graph.heard.errors
    assert "would remove 3 of 4 snapshots, more than half" in error.message
    assert len(graph.instance.get_dynamic_partitions(TARGET)) == 4
    assert len(graph.site.homelab.repository(TARGET).snapshots()) == 4


def test_a_run_on_a_suspect_repository_keeps_all_and_says_why(graph):
    damage(graph.site, graph.site.made[3])
    assert not graph.site.restore_test(key=graph.site.made[3].key).passed
    assert graph.prune(force=3)
    (done,) = graph.heard.prunings
    assert done.report is None and "failed its restore test" in done.plan.halted[0]
    assert len(graph.instance.get_dynamic_partitions(TARGET)) == 4


def test_the_sensor_asks_for_a_run_after_each_newly_verified_snapshot_that_leaves_something_to_remove(graph):
    (request,), cursor = tick(graph)
    assert (request.run_key, request.tags[names.TARGET_TAG]) == ("retention-app/files-2", TARGET)
    assert request.run_config["ops"]["apply_retention"]["config"] == {"target": TARGET, "force": None}
    assert json.loads(cursor) == {TARGET: 2}
    assert tick(graph, cursor) == ([], cursor)
    assert graph.prune(force=3)
    assert graph.site.restore_test().passed  # nothing is left to remove
    requests, cursor = tick(graph, cursor)
    assert requests == [] and json.loads(cursor) == {TARGET: 4}  # 3 is the note of what was removed


def test_the_sensor_asks_no_repository_and_for_nothing_of_a_suspect_one(graph):
    behave(graph.site, app_files={"list_error": "the store is away"})
    assert len(tick(graph)[0]) == 1
    behave(graph.site)
    damage(graph.site, graph.site.made[2])
    assert not graph.site.restore_test(key=graph.site.made[2].key).passed
    assert graph.site.restore_test(key=graph.site.made[3].key).passed
    requests, cursor = tick(graph)
    assert requests == [] and json.loads(cursor) == {TARGET: 4}


def test_once_a_day_every_target_with_snapshots_is_pruned(graph):
    schedule = definition(graph, "schedule", "retention_daily")
    moment = datetime(2026, 11, 25, 7, tzinfo=UTC)
    with dg.build_schedule_context(instance=graph.instance, scheduled_execution_time=moment) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.run_config["ops"]["apply_retention"]["config"]["target"] == TARGET
    graph.instance.delete_dynamic_partition(TARGET, graph.site.made[0].key)
    for item in graph.site.made[1:]:
        graph.instance.delete_dynamic_partition(TARGET, item.key)
    with dg.build_schedule_context(instance=graph.instance, scheduled_execution_time=moment) as context:
        assert schedule.evaluate_tick(context).run_requests == []
