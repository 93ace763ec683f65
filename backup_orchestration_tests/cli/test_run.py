"""`run` and `restore-test`: what they say, their exit codes, and the order of things. Each in a process of its own."""

import pytest
from fakes import ago, behave, damage, records, taken


def test_backups_of_all_targets(make):
    site = make("app/files", "app/other")
    done = site.cli("backup", "run", "--all")
    assert done.returncode == 0, done.stderr
    keys = {target: site.homelab.repository(target).latest().key for target in ("app/files", "app/other")}
    assert sorted(done.stdout.splitlines()) == [
        f"{target}: snapshot {key}: 2 files, 16,388 bytes" for target, key in keys.items()
    ]


def test_one_failure_is_named_and_does_not_stop_the_others(make):
    site = make("app/files", "app/other", "app/third")
    behave(site, app_files={"refuse": "not mounted"}, app_other={"error": "boom"})
    done = site.cli("backup", "run", "--all")
    assert done.returncode == 1
    assert done.stderr.count("app/files: failed: not mounted (mount it)") == 1
    assert done.stderr.count("app/other: failed: RuntimeError: boom") == 1
    assert "app/third: snapshot" in done.stdout and "app/third" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_target_named_twice_is_run_once(make):
    site = make("app/files", "app/other")
    arguments = [part for name in ("files", "app-files", "app/files") for part in ("--target", name)]
    assert site.cli("backup", "run", *arguments).returncode == 0
    assert [item["target"] for item in records(site, "started.jsonl")] == ["app/files"]


def test_a_restore_test_runs_although_there_is_evidence(fake):
    snapshot = fake.backup()
    fake.restore_test()
    for count in (2, 3):
        done = fake.cli("backup", "restore-test", "--target", "files")
        assert done.returncode == 0, done.stderr
        assert f"app/files: {snapshot.key}: restore test passed (restore: " in done.stdout
        assert len(fake.homelab.evidence().ledger("app/files", "default").records) == count
    assert [item["key"] for item in records(fake, "restored.jsonl")] == [snapshot.key] * 3


def test_the_newest_snapshot_is_tested_unless_another_is_named(fake):
    old, new = taken(fake, ago(hours=5)), taken(fake, ago(hours=1))
    done = fake.cli("backup", "restore-test", "--all")
    assert done.returncode == 0 and f"{new.key}: restore test passed" in done.stdout
    done = fake.cli("backup", "restore-test", "--target", "files", "--snapshot", old.key)
    assert done.returncode == 0 and f"{old.key}: restore test passed" in done.stdout
    assert [item["key"] for item in records(fake, "restored.jsonl")] == [new.key, old.key]


def test_without_a_snapshot_there_is_nothing_to_test(fake):
    done = fake.cli("backup", "restore-test", "--all")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.strip() == (
        "app/files: failed: there is no snapshot to test (run `homelab backup run --target app/files`)"
    )


def test_a_failure_makes_it_suspect_until_the_recovery_point_passed_again(fake):
    """One command: the newest fails, the older pass is void, the older one is tested at once, and counts."""
    old, new = taken(fake, ago(hours=5)), taken(fake, ago(hours=1))
    fake.restore_test(key=old.key)
    damage(fake, new)
    done = fake.cli("backup", "restore-test", "--all")
    assert done.returncode == 1, done.stderr
    said = [line.removeprefix("app/files: ") for line in done.stdout.splitlines()]
    assert said[0].startswith(f"{new.key}: restore test failed: files: ")
    assert said[0].endswith("data/sub/two.bin has other bytes than were captured")
    assert said[1:3] == ["protection: suspect; nothing is pruned", f"testing the recovery point {old.key} again"]
    assert said[3].startswith(f"{old.key}: restore test passed")
    assert said[4:] == [f"protection: fresh, recovery point {old.key}"]
    assert fake.judge().protection == "fresh"


def test_a_recovery_point_that_fails_too_leaves_it_suspect(fake):
    old, new = taken(fake, ago(hours=5)), taken(fake, ago(hours=1))
    fake.restore_test(key=old.key)
    for snapshot in (old, new):
        damage(fake, snapshot)
    done = fake.cli("backup", "restore-test", "--all")
    assert done.returncode == 1
    assert done.stdout.count("restore test failed: files: ") == 2
    assert done.stdout.splitlines()[-1] == "app/files: protection: suspect, no recovery point"


@pytest.mark.tools
def test_with_the_real_restic(site, restic):
    """The same words with a real tool: a backup, a pass, a flipped byte, a failure."""
    assert site.cli("backup", "run", "--all").returncode == 0
    done = site.cli("backup", "restore-test", "--all")
    assert done.returncode == 0 and "restore test passed (restore: " in done.stdout, done.stderr
    pack = max(site.packs(), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    done = site.cli("backup", "restore-test", "--all")
    assert done.returncode == 1 and "restore test failed: restore: " in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "app/files: protection: suspect, no recovery point"
    assert site.cli("backup", "status").returncode == 1
