"""Runs whose process is gone are reported as failed; those of living processes and of other machines are left alone."""

import json
import os
import socket
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.build import build_definitions
from backup_orchestration.orchestration.history import failed_backups
from backup_orchestration.orchestration.stale_runs import (
    fail_stale_runs,
    instance_for_runs,
    mark_run,
    process_tags,
)

HOST, PROCESS = "homelab/host", "homelab/process"
SAY = "import json; from backup_orchestration.orchestration.stale_runs import process_tags as t; print(json.dumps(t()))"


@pytest.fixture(scope="module")
def dead():
    """Tags of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True, env=dict(os.environ))
    return json.loads(done.stdout)


def started(graph, tags, status=dg.DagsterRunStatus.STARTED, **fields):
    return create_run_for_test(graph.instance, job_name="backups", status=status, tags=dict(tags), **fields).run_id


def status_of(graph, run_id):
    return graph.instance.get_run_by_id(run_id).status


def changed(tags, part, value):
    parts = tags[PROCESS].split("/")
    parts[part] = value
    return {**tags, PROCESS: "/".join(parts)}


def test_a_dead_process_is_told_from_every_other(graph, dead):
    living = process_tags()
    gone = {
        "ended": dead,
        "before the machine was restarted": changed(living, 0, "another-boot"),
        "process id used again": changed(living, 2, "1"),
    }
    left = {
        "alive": living,
        "of another host": {**dead, HOST: socket.gethostname() + "-other"},
        "not begun by Dagster's daemon yet": {},
        "without a process": {HOST: dead[HOST]},
    }
    runs = {name: started(graph, tags) for name, tags in {**gone, **left}.items()}
    ended = [started(graph, dead, status) for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED)]
    assert sorted(fail_stale_runs(graph.instance)) == sorted(runs[name] for name in gone)
    assert {name for name, run in runs.items() if status_of(graph, run) is dg.DagsterRunStatus.FAILURE} == set(gone)
    assert [status_of(graph, run) for run in ended] == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED]
    messages = [entry.message for entry in graph.instance.all_logs(runs["ended"]) if entry.is_dagster_event]
    assert any(f"its process {dead[PROCESS].split('/')[1]} ended before the run did" in text for text in messages)
    assert fail_stale_runs(graph.instance) == []


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING])
def test_a_process_may_die_before_its_run_has_started(graph, dead, status):
    run = started(graph, dead, status)
    assert fail_stale_runs(graph.instance) == [run]


def test_a_process_that_only_waits_to_be_collected_is_dead(graph):
    """A killed worker is a zombie until its parent looks."""
    child = os.fork()
    if not child:
        os._exit(0)
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        with open(f"/proc/{child}/stat") as file:
            start = file.read().rpartition(")")[2].split()[19]
        run = started(graph, changed(changed(process_tags(), 1, str(child)), 2, start))
        assert fail_stale_runs(graph.instance) == [run]
    finally:
        os.waitpid(child, 0)


def test_a_run_that_is_executed_again_is_not_taken_for_the_one_that_died(graph, dead):
    first = started(graph, dead)
    fail_stale_runs(graph.instance)
    again = started(graph, dead, parent_run_id=first, root_run_id=first)
    assert fail_stale_runs(graph.instance) == []
    mark_run(graph.instance, graph.instance.get_run_by_id(again))
    assert process_tags().items() <= graph.instance.get_run_by_id(again).tags.items()


def test_runs_of_ours_carry_the_tags(graph):
    assert graph.backup()
    assert process_tags().items() <= graph.last_run.tags.items()


def test_whoever_opens_the_instance_for_runs_has_ended_them(graph, dead):
    run = started(graph, dead)
    with instance_for_runs(graph.site.homelab) as instance:
        assert instance.get_run_by_id(run).status is dg.DagsterRunStatus.FAILURE


def test_history_counts_a_dead_run_as_failed_before_anybody_reported_it(graph, dead):
    """`status` only looks; it must not say that all is well meanwhile."""
    selected = frozenset({names.target_key("app/files")})
    run = started(graph, dead, asset_selection=selected)
    found = failed_backups(graph.site.homelab, ["app/files"])
    assert found["app/files"].run_id == run
    assert status_of(graph, run) is dg.DagsterRunStatus.STARTED


def test_a_run_that_dagster_started_is_tagged_with_its_process(graph):
    job = build_definitions(graph.site.homelab).resolve_job_def(names.BACKUPS_JOB)
    assert job.execute_in_process(instance=graph.instance, asset_selection=[names.target_key("app/files")]).success
    assert process_tags().items() <= graph.last_run.tags.items()


def test_the_daemon_ends_dead_runs_too(graph, dead):
    """Else the place in the pool of the repository would be taken for ever."""
    run = started(graph, dead)
    sensor = build_definitions(graph.site.homelab).get_repository_def().get_sensor_def("dead_runs")
    with dg.build_sensor_context(instance=graph.instance) as context:
        said = sensor.evaluate_tick(context).skip_message
    assert said == f"ended {run}"
    assert status_of(graph, run) is dg.DagsterRunStatus.FAILURE
