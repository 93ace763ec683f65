"""Stores that fail: named, no snapshot, no evidence against the data, nothing lost, and well again when they are."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from faulty_store import KEY, SECRET, FaultyStore, S3Server

from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.status import Protection
from backup_orchestration.operations.backup import backup

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

# A store fails at once or not at all here, so no more is needed. A request has five seconds all the same.
PATIENCE = 3
SETTINGS = """\
contributors = ["./services.py"]
[destinations.default]
location = "s3://{bucket}/backups"
password = {{ file = "secrets/password" }}
{access}
[evidence]
location = "s3://{bucket}/evidence"
key = {{ file = "secrets/evidence-key" }}
{access}
"""
ACCESS = """\
endpoint = "{url}"
access_key = {{ file = "secrets/access" }}
secret_key = {{ file = "secrets/secret" }}
patience = {patience}
"""
WORDS = {
    "403": "AccessDenied|Access Denied|AllAccessDisabled",
    "500": "InternalError|internal error",
    "full": "minimum free drive threshold",
    "gone": "[Cc]onnection|EOF|broken pipe|reset by peer",
    "never": "[Tt]imeout|timed out",
}


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A real S3 server."""
    root = tmp_path_factory.mktemp("store") / "s3"
    root.mkdir()
    server = S3Server(Path(sys.executable).parent / "rclone", root)
    yield server
    server.close()


@pytest.fixture
def store(server):
    """What stands between the site and its store."""
    store = FaultyStore(server.port)
    yield store
    store.close()


@pytest.fixture
def far(template, tmp_path, server, store):
    """The site of `template` with its repository and its evidence in a bucket."""
    bucket = server.root / f"b{os.urandom(6).hex()}"
    server.client().create_bucket(Bucket=bucket.name)
    for name in ("backups", "evidence"):
        shutil.copytree(template.root / name, bucket / name)
    for name in ("data", "secrets"):
        shutil.copytree(template.root / name, tmp_path / name, symlinks=True)
    shutil.copy2(template.root / "services.py", tmp_path)
    (tmp_path / "secrets" / "access").write_text(KEY)
    (tmp_path / "secrets" / "secret").write_text(SECRET)
    access = ACCESS.format(url=store.url, patience=PATIENCE)
    (tmp_path / "homelab.toml").write_text(SETTINGS.format(bucket=bucket.name, access=access))
    (tmp_path / "data" / "new").write_bytes(os.urandom(200_000))
    site = type(template)(tmp_path)
    site.bucket = bucket
    return site


def failed(attempt):
    """What it said; it must be this project's own error, with exit code 1."""
    with pytest.raises(HomelabError) as caught:
        attempt()
    assert caught.value.exit_code == 1
    return str(caught.value)


def records(site):
    """The evidence as it lies in the store."""
    return {path.name: path.read_bytes() for path in (site.bucket / "evidence").rglob("*") if path.is_file()}


def snapshots(site):
    return sorted(path.name for path in (site.bucket / "backups/restic-app-files/snapshots").iterdir())


def left(site):
    """What no run may leave behind."""
    places = (site.root / ".homelab" / name for name in ("staging", "labs", "run"))
    return [path for place in places for path in place.rglob("*") if not path.is_dir()]


def plain(site, said):
    """Without what differs from run to run, for the table."""
    said = said.replace(str(site.root), "…")
    said = re.sub(r"127\.0\.0\.1:\d+", "…", said.replace(getattr(site, "bucket", site.root).name, "bucket"))
    said = re.sub(r"[0-9a-f]{10,}", "…", said)
    return said if len(said) < 170 else f"{said[:80]} … {said[-80:]}"


def is_well(site):
    """The next backup and its restore test succeed."""
    before = snapshots(site)
    snapshot = site.backup()
    assert set(snapshots(site)) - set(before) == {snapshot.snapshot_id}
    evidence = site.restore_test()
    assert evidence.passed, evidence.reason
    assert site.judge().protection is Protection.FRESH
    assert left(site) == []


@pytest.mark.parametrize("fault", ["403", "500", "gone", "never"])
def test_a_bucket_that_fails_from_the_start(far, store, matrix, fault):
    key = far.homelab.repository("app/files").latest().key
    before = snapshots(far), records(far)
    store.break_with(fault)
    for where, attempt in (("backup", far.backup), ("restore test", lambda: far.restore_test(key=key))):
        said = failed(attempt)
        assert f"s3:{store.url}/{far.bucket.name}/" in said
        assert re.search(WORDS[fault], said)
        matrix("False success", f"store answers {fault}", f"S3, {where}", plain(far, said))
    assert (snapshots(far), records(far), left(far)) == (*before, [])
    store.mend()
    assert far.restore_test(key=key).passed


@pytest.mark.parametrize("fault", ["full", "403", "500", "gone", "never"])
def test_a_bucket_that_fails_in_the_middle_of_a_backup(far, store, matrix, fault):
    before = snapshots(far), records(far)
    store.break_with(fault, after="PUT .*/data/", only="PUT .*/(data|index|snapshots)/" if fault == "full" else "")
    said = failed(far.backup)
    assert store.broken
    assert f"s3:{store.url}/{far.bucket.name}/backups/restic-app-files" in said
    assert re.search(WORDS[fault], said)
    matrix("False success", f"store {fault} half-way", "S3, backup", plain(far, said))
    assert (snapshots(far), records(far), left(far)) == (*before, [])
    store.mend()
    is_well(far)


@pytest.mark.parametrize("fault", ["403", "500", "gone", "never"])
def test_a_bucket_that_fails_in_the_middle_of_a_restore_test(far, store, matrix, fault):
    """Nothing is known of the data then: no evidence, and above all none that it is damaged."""
    far.backup()
    key = far.homelab.repository("app/files").latest().key
    before = snapshots(far), records(far)
    store.break_with(fault, after="GET .*/data/")
    said = failed(lambda: far.restore_test(key=key))
    assert store.broken
    assert f"s3:{store.url}/{far.bucket.name}/backups/restic-app-files" in said
    assert re.search(WORDS[fault], said)
    matrix("False success", f"store {fault} half-way", "S3, restore test", plain(far, said))
    assert (snapshots(far), records(far), left(far)) == (*before, [])
    store.mend()
    assert far.judge().protection is Protection.FRESH  # of the older, proved one
    assert far.restore_test(key=key).passed


def test_a_store_that_recovers_in_time_is_told_of_and_forgiven(far, store):
    heard = []

    def progress(update):
        if update.stage == "waiting":
            heard.append(update.message)
            store.mend()

    store.break_with("500", after="PUT .*/data/")
    snapshot = backup(far.homelab, "app/files", "0123456789abcdef", progress)
    assert snapshot.snapshot_id in snapshots(far)
    (line,) = heard
    assert re.search("s3:.* fails, and is asked again: .*internal error", line)


def test_an_object_that_is_missing_while_the_store_answers_is_damage(far, server):
    """What tells a fault of the store from damage: the rest of it is there."""
    far.backup()
    for pack in list((far.bucket / "backups/restic-app-files/data").rglob("?" * 64)):
        server.client().delete_object(Bucket=far.bucket.name, Key=str(pack.relative_to(far.bucket)))
    evidence = far.restore_test()
    assert not evidence.passed
    assert "damaged or missing in the repository: data/" in evidence.reason


@pytest.mark.parametrize("verb", ["run", "restore-test"])
def test_the_command_ends_with_1_and_names_the_store(far, store, verb):
    if verb == "run":
        store.break_with("gone", after="PUT .*/data/")
    else:
        store.break_with("500", after="GET .*/data/")
    before = snapshots(far), records(far)
    done = far.cli("backup", verb, "--all")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"app/files: failed: .*s3:{store.url}/{far.bucket.name}/backups/restic-app-files", done.stderr)
    assert "snapshot 2" not in done.stdout and "passed" not in done.stdout
    assert (snapshots(far), records(far)) == before
