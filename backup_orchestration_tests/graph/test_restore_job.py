"""The job `restore` as the Launchpad starts it: a plan that touches nothing, and the word for what comes after."""

import dagster as dg
import pytest
from fakes import damage, records

from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.build import build_definitions

TARGET = "app/files"


@pytest.fixture
def proven(graph):
    """A graph whose only snapshot is verified."""
    assert graph.backup() and graph.restore_test()
    return graph


def launch(graph, **form):
    """Run the job with this form; the run, its metadata, and what it died of."""
    job = build_definitions(graph.site.homelab).resolve_job_def(names.RESTORE_JOB)
    config = {"ops": {"restore_snapshot": {"config": {"target": TARGET, **form}}}}
    result = job.execute_in_process(instance=graph.instance, run_config=config, raise_on_error=False)
    logs = graph.instance.all_logs(result.run_id)
    events = [entry.dagster_event for entry in logs if entry.is_dagster_event]
    failures = [item.event_specific_data for item in events if item.event_type is dg.DagsterEventType.STEP_FAILURE]
    outputs = [item.event_specific_data for item in events if item.event_type is dg.DagsterEventType.STEP_OUTPUT]
    said = failures[0].error.message + str(failures[0].user_failure_data) if failures else ""
    metadata = {name: item.value for output in outputs for name, item in output.metadata.items()}
    return result, metadata, said


def test_by_default_it_is_a_plan_that_touches_nothing(proven):
    restores = len(records(proven.site, "restored.jsonl"))
    (snapshot,) = proven.site.homelab.repository(TARGET).snapshots()
    result, shown, _ = launch(proven)
    assert result.success
    assert shown["word"] == f"{TARGET}@{snapshot.key}" and shown["verdict"] == "verified"
    assert shown["to"].endswith(f"/restores/app-files-{snapshot.key}")
    assert "cp -a " in shown["restore_without_homelab"]
    assert len(records(proven.site, "restored.jsonl")) == restores
    assert not (proven.site.homelab.home / "restores").exists()


def test_apply_needs_the_word_that_the_plan_has_told(proven):
    (snapshot,) = proven.site.homelab.repository(TARGET).snapshots()
    for word in ("", "yes", f"{TARGET}@20200101T000000Z-deadbeef"):
        result, _, said = launch(proven, mode="APPLY", confirm=word)
        assert not result.success and f"write {TARGET}@{snapshot.key}" in said
    assert not (proven.site.homelab.home / "restores").exists()
    result, shown, _ = launch(proven, mode="APPLY", confirm=f"{TARGET}@{snapshot.key}")
    assert result.success
    place = proven.site.homelab.home / "restores" / f"app-files-{snapshot.key}"
    assert shown["to"] == str(place) and shown["result"] == "every probe passed"
    assert f"{place}{proven.site.root}/data {proven.site.root}/data" in shown["put_back"]
    assert (place / str(proven.site.root)[1:] / "data" / "one.txt").read_text() == "one\n"
    assert shown["restored_bytes"] == snapshot.size_bytes


@pytest.mark.parametrize("damaged", [False, True])
def test_in_place_what_was_there_is_kept_or_stays(graph, damaged):
    settings, file = graph.site.root / "homelab.toml", graph.site.root / "data" / "one.txt"
    settings.write_text('restore_roots = ["."]\n' + settings.read_text())
    assert graph.backup()
    (snapshot,) = graph.heard.snapshots
    file.write_text("spoilt\n")
    if damaged:
        damage(graph.site, snapshot)
    form = {"snapshot": snapshot.key, "in_place": True, "mode": "APPLY"}
    result, _, said = launch(graph, **form)
    assert not result.success and f"write {TARGET}@{snapshot.key}" in said and file.read_text() == "spoilt\n"
    result, shown, said = launch(graph, **form, confirm=f"{TARGET}@{snapshot.key}")
    assert result.success is not damaged
    if damaged:
        assert f"{file.parent} was not replaced and is as it was, and files: " in said
        assert file.read_text() == "spoilt\n" and not list(graph.site.root.glob("data?*"))
    else:
        (kept,) = graph.site.root.glob("data.before-*")
        assert shown["kept"] == str(kept) and file.read_text() == "one\n"
        assert (kept / "data" / "one.txt").read_text() == "spoilt\n"
        assert shown["restore_seconds"] > 0


def test_a_failed_probe_fails_the_run_and_keeps_what_was_restored(graph):
    assert graph.backup()
    (snapshot,) = graph.heard.snapshots
    damage(graph.site, snapshot)
    word = f"{TARGET}@{snapshot.key}"
    result, _, said = launch(graph, snapshot=snapshot.key, mode="APPLY", confirm=word)
    place = graph.site.homelab.home / "restores" / f"app-files-{snapshot.key}"
    assert not result.success and f"restored to {place}, and files: " in said
    assert place.is_dir()


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"target": "app/nothing"}, "there is no target"),
        ({"to": "here"}, "is no absolute path"),
        ({"at": "yesterday"}, "is no moment with a time zone"),
        ({"at": "2026-11-25T02:30:00Z", "snapshot": "x"}, "exclude each other"),
        ({"snapshot": "20200101T000000Z-deadbeef"}, "has no snapshot"),
    ],
)
def test_a_form_that_is_filled_in_wrongly(proven, form, words):
    result, _, said = launch(proven, **form)
    assert not result.success and words in said
