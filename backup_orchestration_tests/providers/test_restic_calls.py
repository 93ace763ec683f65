"""What restic is told: every call's arguments and environment, as a fake restic saw them."""

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from backup_orchestration.core import manifest
from backup_orchestration.core.errors import RestoreFailedError, SourceError, ToolMissingError
from backup_orchestration.homelab.load import load
from backup_orchestration.operations.backup import Wish, backup
from backup_orchestration.operations.restore_test import restore_test
from backup_orchestration.providers.base import RestoreSpec

PASSWORD = "correct horse battery"
EVIDENCE_KEY = "staple of evidence"
# What a child may see of this process; all else is said on purpose. PWD is made by the shell of the fake.
INHERITED = {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "PWD"}


def test_a_snapshot_is_marked_with_its_target_its_run_and_its_repository(site, fake):
    snapshot = site.backup(run_id="run-one")
    (call,) = fake.calls("backup")
    assert set(call.option("--tag")) == {
        "target=app/files",
        "run=run-one",
        f"repository={snapshot.repository_id}",
    }
    assert snapshot.run_id == "run-one"


def test_the_host_name_is_the_same_wherever_it_runs(site, fake, monkeypatch):
    site.backup()
    monkeypatch.setenv("HOSTNAME", "another")
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    site.backup()
    first, second = fake.calls("backup")
    assert first.option("--host") == second.option("--host") != []


def test_the_moment_is_the_start_of_the_capture_in_utc(site, fake):
    india = timezone(timedelta(hours=5, minutes=30))
    site.clock = lambda: datetime(2026, 11, 23, 7, 30, 3, tzinfo=india)
    snapshot = site.backup()
    (call,) = fake.calls("backup")
    assert call.option("--time") == ["2026-11-23 02:00:03"]
    assert call.env["TZ"] == "UTC"
    assert snapshot.taken_at == datetime(2026, 11, 23, 2, 0, 3, tzinfo=UTC)
    assert snapshot.key.startswith("20261123T020003Z-")


def test_the_source_and_its_manifest_are_stored_by_absolute_paths(site, fake, monkeypatch):
    monkeypatch.chdir(site.root)
    site.backup()
    (call,) = fake.calls("backup")
    source, listed = map(Path, call.argv[call.argv.index("--") + 1 :])
    assert source == site.root / "data"
    assert listed.is_absolute()
    assert listed.name == manifest.FILENAME


def test_exclusions_reach_restic_and_the_manifest_alike(site, fake):
    excluded = f"{site.root}/data/sub"
    site.declare(
        f'BackupPolicy(target="app/files", source=Files(path=str(HERE / "data"), exclude=("*.tmp", {excluded!r})))'
    )
    (site.root / "data" / "left.tmp").write_text("x")
    site.backup()
    (call,) = fake.calls("backup")
    assert call.option("--exclude") == ["*.tmp", excluded]
    assert call.argv.index("--exclude") < call.argv.index("--")


@pytest.mark.parametrize("reread", [False, True])
def test_everything_is_read_anew_only_by_an_explicit_word(site, fake, reread):
    backup(site.homelab, "app/files", "run", wish=Wish(reread=reread))
    (call,) = fake.calls("backup")
    assert ("--force" in call.argv) is reread


def test_a_dump_is_run_by_restic_itself_and_never_by_a_pipe(site, fake):
    site.declare('BackupPolicy(target="app/dump", source=Dump(command=("pg_dump", "--x"), filename="app.sql"))')
    site.backup("app/dump")
    (call,) = fake.calls("backup")
    assert "--stdin-from-command" in call.argv
    assert "--stdin" not in call.argv
    assert call.option("--stdin-filename") == ["app.sql"]
    assert call.argv[-2:] == ["pg_dump", "--x"]


def test_no_call_names_the_newest_snapshot_without_its_id(site, fake):
    snapshot = site.backup()
    fake.answer(restore=[{"stdout": json.dumps({"message_type": "summary", "files_restored": 1})}])
    site.restore_test()
    (restore,) = fake.calls("restore")
    assert snapshot.snapshot_id in restore.argv
    assert not [call.argv for call in fake.calls() if any("latest" in word for word in call.argv)]
    shown = site.homelab.repository("app/files").by_hand().commands(snapshot)
    assert not [line for line in shown if "latest" in line]


def test_a_restore_test_gets_no_cache_and_a_restore_gets_one(site, fake, tmp_path):
    snapshot = site.backup()
    repository = site.homelab.repository("app/files")
    for witnessed in (True, False):
        fake.answer()
        with pytest.raises(RestoreFailedError):
            repository.restore(snapshot, RestoreSpec(tmp_path, witnessed=witnessed), lambda update: None)
        (call,) = fake.calls("restore")
        assert ("--no-cache" in call.argv) is witnessed
        assert ("RESTIC_CACHE_DIR" in call.env) is not witnessed
        assert call.env["RESTIC_REPOSITORY"].startswith("rest:http+unix://" if witnessed else str(site.root))


def test_what_only_looks_takes_no_lock_and_what_reads_or_writes_data_does(site, fake):
    """restic waits a fifth of a second for each lock, and writes it where only something is looked up."""
    locked = {call.verb: "--no-lock" not in call.argv for call in _everything(site, fake)}
    assert locked == {
        "cat": False,
        "snapshots": False,
        "init": True,
        "backup": True,
        "restore": True,
        "forget": True,
    }


def test_a_repository_that_was_just_listed_is_not_listed_again_for_a_restore_test(site, fake):
    site.backup()
    listed = site.homelab.repository("app/files").snapshots()
    fake.answer()
    restore_test(site.homelab, "app/files", listed[0].key, "run", listed=listed)
    assert fake.verbs() == ["restore"]


def _everything(site, fake):
    """All calls that the operations make, good and bad: backup, list, restore test, and a discarded snapshot."""
    site.backup()
    site.restore_test()
    site.judge()
    calls = fake.calls()
    fake.answer(backup=[{"code": 3}])
    with pytest.raises(SourceError, match="could not read"):
        site.backup()
    return calls + fake.calls()


def _seen(calls):
    return [text for call in calls for text in (*call.argv, *call.env.keys(), *call.env.values())]


def test_no_secret_is_in_the_arguments_or_the_environment_of_any_call(site, fake):
    calls = _everything(site, fake)
    assert {call.verb for call in calls} == {"cat", "init", "backup", "snapshots", "restore", "forget"}
    for secret in (PASSWORD, EVIDENCE_KEY):
        assert not [text for text in _seen(calls) if secret in text]
        assert secret not in fake.version_environments()
    used = {call.password["sha256"] for call in calls if call.password}
    assert used == {hashlib.sha256(f"{PASSWORD}\n".encode()).hexdigest()}


def test_a_secret_from_the_environment_is_handed_on_by_a_private_file_that_is_gone_afterwards(site, fake, monkeypatch):
    canary = "canary-4711-from-the-environment"
    monkeypatch.setenv("BACKUP_PASSWORD", canary)
    monkeypatch.setenv("RESTIC_PASSWORD", canary)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", canary)
    settings = site.root / "homelab.toml"
    settings.write_text(settings.read_text().replace('file = "secrets/password"', 'env = "BACKUP_PASSWORD"'))
    homelab = load(settings)
    snapshot = backup(homelab, "app/files", "run")
    calls = fake.calls()
    assert not [text for text in _seen(calls) if canary in text]
    assert canary not in fake.version_environments()
    opened = [call.password for call in calls if call.password]
    assert {item["sha256"] for item in opened} == {hashlib.sha256(canary.encode()).hexdigest()}
    assert {item["mode"] for item in opened} == {0o600}
    assert not [item["path"] for item in opened if Path(item["path"]).exists()]
    shown = "\n".join(homelab.repository("app/files").by_hand().commands(snapshot))
    assert canary not in shown
    assert "destinations.default.password" in shown


def test_a_child_gets_nothing_of_our_environment_but_where_things_are(site, fake, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "/somewhere")
    monkeypatch.setenv("RESTIC_COMPRESSION", "off")
    for call in _everything(site, fake):
        told = {"TZ", "LC_ALL"} | {key for key in call.env if key.startswith("RESTIC_")}
        assert set(call.env) <= INHERITED | told
        assert "RESTIC_COMPRESSION" not in call.env


@pytest.mark.parametrize("version", ["0.14.0", "0.16.4", "0.17.0"])
def test_an_old_restic_is_refused_with_what_was_seen(site, fake, version):
    (fake.directory / "version").write_text(f"restic {version} compiled with go1.19.8 on linux/amd64\n")
    with pytest.raises(ToolMissingError) as caught:
        site.backup()
    assert f"{fake.directory}/restic is {version}" in str(caught.value)
    assert "0.17.1" in str(caught.value)
    assert fake.verbs() == []
    assert not (site.root / "backups").exists()


@pytest.mark.parametrize("version", ["0.17.1", "0.19.1", "1.0.0"])
def test_a_newer_restic_is_used(site, fake, version):
    (fake.directory / "version").write_text(f"restic {version} compiled with go1.25 on linux/amd64\n")
    assert site.backup().snapshot_id == fake.stored(site)[0]["id"]
