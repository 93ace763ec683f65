"""What a run of each asset leaves behind in Dagster."""

import dagster as dg
import pytest
from fakes import damage, make_fake, policy

from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.build import build_definitions

TARGET = "app/files"
BACKUP, VERIFIED, POINT = names.target_key(TARGET), names.verified_key(TARGET), names.recovery_point_key(TARGET)


def materialized(graph):
    return {key for key in (BACKUP, VERIFIED, POINT) if graph.materialization(key)}


def test_a_backup_adds_the_partition_and_materializes_nothing_else(graph):
    assert graph.backup()
    (snapshot,) = graph.heard.snapshots
    assert list(graph.instance.get_dynamic_partitions(TARGET)) == [snapshot.key]
    assert materialized(graph) == {BACKUP}
    shown = graph.materialization(BACKUP).asset_materialization.metadata
    assert shown["snapshot"].value == snapshot.key
    assert shown["size_bytes"].value == snapshot.size_bytes == 16388
    assert snapshot.run_id == graph.last_run.run_id
    assert not graph.instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(VERIFIED, names.CHECK))


def test_a_second_backup_keeps_the_first_partition(graph):
    assert graph.backup() and graph.backup()
    listed = [item.key for item in graph.site.homelab.repository(TARGET).snapshots()]
    assert len(listed) == 2 and sorted(graph.instance.get_dynamic_partitions(TARGET)) == sorted(listed)


def test_partitions_forbid_making_a_vanished_repository_anew(graph):
    """Dagster remembers snapshots where no evidence does."""
    assert graph.backup()
    (graph.site.root / "backups" / "fake-app-files" / "id").unlink()
    assert not graph.backup()
    assert "is gone" in graph.heard.errors[0].message
    assert not (graph.site.root / "backups" / "fake-app-files" / "id").exists()


def test_the_ledger_of_partitions_is_green_red_and_missing(graph):
    for _ in range(3):
        assert graph.backup()
    bad, good, untested = (item for item in graph.site.homelab.repository(TARGET).snapshots())
    damage(graph.site, bad)
    assert not graph.restore_test(bad.key)
    (evidence,) = graph.heard.evidence
    assert not graph.heard.errors
    failed_run = graph.last_run
    assert graph.restore_test(good.key)
    materialized_partitions = graph.instance.get_materialized_partitions(VERIFIED)
    assert materialized_partitions == {good.key}
    assert untested.key in graph.instance.get_dynamic_partitions(TARGET)

    assert failed_run.status is dg.DagsterRunStatus.FAILURE
    logs = graph.instance.all_logs(failed_run.run_id)
    (check,) = events(logs, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    assert (check.asset_key, check.check_name, check.passed) == (VERIFIED, "restore_test", False)
    assert check.metadata["snapshot"].value == bad.key and "files: " in check.description
    (failure,) = events(logs, dg.DagsterEventType.STEP_FAILURE)
    assert f"restore test failed: {evidence.reason}" in failure.error.message

    shown = graph.materialization(VERIFIED).asset_materialization
    assert shown.partition == good.key and shown.metadata["files"].value == 2
    latest = graph.instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(VERIFIED, names.CHECK))
    assert latest.event.dagster_event.event_specific_data.passed


def test_a_failed_restore_test_is_not_tried_again(graph):
    """Whatever retries an installation gives its runs: the data is what it is."""
    assert graph.backup()
    (snapshot,) = graph.heard.snapshots
    damage(graph.site, snapshot)
    job = build_definitions(graph.site.homelab).resolve_implicit_global_asset_job_def()
    with pytest.raises(dg.Failure) as caught:
        job.execute_in_process(instance=graph.instance, asset_selection=[VERIFIED], partition_key=snapshot.key)
    assert caught.value.allow_retries is False


def events(logs, kind):
    """What the events of a kind say."""
    found = [entry.dagster_event for entry in logs if entry.is_dagster_event]
    return [event.event_specific_data for event in found if event.event_type is kind]


def test_a_restore_test_of_what_is_not_there_paints_nothing(graph):
    assert graph.backup()
    assert not graph.restore_test("20200101T000000Z-deadbeef")
    (error,) = graph.heard.errors
    assert "has no snapshot 20200101T000000Z-deadbeef" in error.message
    assert VERIFIED not in materialized(graph)
    assert not graph.site.homelab.evidence().ledger(TARGET, "default").records


def test_the_check_can_neither_be_deselected_nor_run_alone(graph):
    job = build_definitions(graph.site.homelab).resolve_implicit_global_asset_job_def()
    check = dg.AssetCheckKey(VERIFIED, names.CHECK)
    assert job.get_subset(asset_selection={VERIFIED}, asset_check_selection={check})
    for assets, checks in (({VERIFIED}, set()), (set(), {check})):
        with pytest.raises(dg.DagsterInvalidSubsetError):
            job.get_subset(asset_selection=assets, asset_check_selection=checks)


def test_the_recovery_point_cannot_be_materialized(graph):
    job = build_definitions(graph.site.homelab).resolve_implicit_global_asset_job_def()
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="executable"):
        job.get_subset(asset_selection={POINT})


def test_a_backup_run_of_two_targets_takes_only_the_selected(site, dagster_home, open_graph):
    """The command line builds the graph of one target; Dagster's own runs select out of all."""
    make_fake(site, policy("app/files"), policy("app/other"), home=dagster_home)
    with open_graph(site) as graph:
        job = build_definitions(site.homelab).resolve_job_def(names.BACKUPS_JOB)
        other = names.target_key("app/other")
        assert job.execute_in_process(instance=graph.instance, asset_selection=[other]).success
        assert graph.materialization(other) and not graph.materialization(BACKUP)
        assert len(site.homelab.repository("app/other").snapshots()) == 1
        assert not (site.root / "backups" / "fake-app-files").exists()
