"""Real repositories: who sees which snapshots, and what happens when a repository is not the one it was."""

import shutil

import pytest

from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.errors import (
    CommandFailedError,
    RepositoryMissingError,
    RepositoryVanishedError,
    UnknownSnapshotError,
    WrongPasswordError,
)
from backup_orchestration.core.status import Protection
from backup_orchestration.operations.backup import Wish, backup
from backup_orchestration.providers import _witness

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

OTHER = 'BackupPolicy(target="app/other", source=Files(path=str(HERE / "other")))'
FILES = 'BackupPolicy(target="app/files", source=Files(path=str(HERE / "data")))'


def by_hand(restic, site, *arguments, target="app/files"):
    """restic as a person calls it."""
    env = {
        "RESTIC_REPOSITORY": site.homelab.repository(target).location,
        "RESTIC_PASSWORD_FILE": str(site.root / "secrets" / "password"),
    }
    return check(Command([str(restic), "--no-cache", *arguments], 60, env))


def content(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_snapshot_is_found_by_its_run_among_others(kept):
    first = kept.homelab.repository("app/files").latest()
    (kept.root / "data" / "new.txt").write_text("new\n")
    second = kept.backup(run_id="0123456789abcdef")
    assert (second.run_id, second.counts["files"]) == ("0123456789abcdef", 4)
    listed = kept.homelab.repository("app/files").snapshots()
    assert [item.snapshot_id for item in listed] == [first.snapshot_id, second.snapshot_id]
    assert listed[1] == second
    assert second.finished_at >= second.taken_at.replace(microsecond=0)


def test_two_targets_in_one_destination_do_not_see_each_other(kept, restic, matrix):
    kept.declare(FILES, OTHER)
    (kept.root / "other").mkdir()
    (kept.root / "other" / "its-own").write_text("its own")
    ours = kept.homelab.repository("app/files").latest()
    theirs = kept.backup("app/other")
    assert kept.homelab.repository("app/files").latest() == ours
    assert kept.homelab.repository("app/other").snapshots() == [theirs]
    assert ours.repository_id != theirs.repository_id
    with pytest.raises(UnknownSnapshotError) as caught:
        kept.restore_test("app/other", ours.key)
    matrix("False success", "`latest` of a neighbour", "restore test", str(caught.value))
    assert kept.homelab.evidence().ledger("app/other", "default").records == ()


def test_what_a_person_stores_in_the_repository_is_not_ours(kept, restic):
    ours = kept.homelab.repository("app/files").latest()
    by_hand(restic, kept, "backup", "--quiet", "--tag", "target=app/file", str(kept.root / "secrets"))
    by_hand(restic, kept, "backup", "--quiet", str(kept.root / "secrets"))
    assert kept.homelab.repository("app/files").snapshots() == [ours]
    assert kept.judge().recovery_point == ours


def test_a_wrong_password_is_said_and_never_makes_a_repository(kept):
    before = content(kept.root / "backups")
    (kept.root / "secrets" / "password").write_text("not that one\n")
    for attempt in (kept.backup, lambda: backup(kept.homelab, "app/files", "run", wish=Wish(new_repository=True))):
        with pytest.raises(WrongPasswordError):
            attempt()
    with pytest.raises(WrongPasswordError):
        kept.restore_test(key="20261123T020003Z-44e3a3c7")
    assert content(kept.root / "backups") == before
    assert len(kept.homelab.evidence().ledger("app/files", "default").records) == 1


def test_a_vanished_repository_is_refused_until_a_person_says_otherwise(kept, matrix):
    key = kept.homelab.repository("app/files").latest().key
    shutil.rmtree(kept.root / "backups")
    with pytest.raises(RepositoryVanishedError) as caught:
        kept.backup()
    assert "--new-repository" in caught.value.remedy
    assert not (kept.root / "backups").exists()
    with pytest.raises(RepositoryMissingError):
        kept.homelab.repository("app/files").snapshots()
    gone = kept.judge()
    assert gone.protection is Protection.NEVER
    assert "the repository is gone" in gone.reason

    snapshot = backup(kept.homelab, "app/files", "run", wish=Wish(new_repository=True))
    made = kept.judge()
    assert made.snapshots == (snapshot,)
    assert made.protection is Protection.NEVER
    assert "re-created" in made.reason
    matrix("False success", "repository re-created", "status", made.reason)
    assert made.verdicts == {snapshot.key: "untested"}
    assert key not in made.verdicts
    assert kept.restore_test().passed
    assert kept.judge().protection is Protection.FRESH


def test_evidence_of_a_repository_does_not_speak_for_a_copy_of_its_snapshot_in_another(kept, restic):
    """The same tags, time and paths in a repository that was made anew: tested is what was tested."""
    shutil.move(kept.root / "backups", kept.root / "before")
    old = str(kept.root / "before" / "restic-app-files")
    password = str(kept.root / "secrets" / "password")
    by_hand(restic, kept, "init", "--quiet")
    by_hand(restic, kept, "copy", "--quiet", "--from-repo", old, "--from-password-file", password)
    (copied,) = kept.homelab.repository("app/files").snapshots()
    assert copied.taken_at == kept.homelab.evidence().ledger("app/files", "default").records[0].taken_at
    assert kept.judge().protection is Protection.NEVER


def test_a_snapshot_that_can_no_longer_be_listed_is_no_recovery_point(kept):
    """restic says so on stderr and ends with exit code 0."""
    (listed,) = (kept.root / "backups" / "restic-app-files" / "snapshots").iterdir()
    damaged = bytearray(listed.read_bytes())
    damaged[40] ^= 1
    listed.chmod(0o600)
    listed.write_bytes(damaged)
    found = kept.judge()
    assert (found.protection, found.recovery_point) == (Protection.NEVER, None)
    assert "no longer in the repository" in found.reason


def test_while_a_restore_test_reads_a_backup_may_run_and_prune_may_not(kept, restic, monkeypatch):
    """The lock that its restic puts into the repository is seen by every host."""
    key = kept.homelab.repository("app/files").latest().key
    read_whole, met = _witness._read_whole, []

    def beside(file, identity):
        if not met and "/data/" in str(file.name):
            met.append(kept.backup().key)
            with pytest.raises(CommandFailedError, match="exit code 11"):
                by_hand(restic, kept, "prune")
            with pytest.raises(CommandFailedError, match="exit code 11"):
                by_hand(restic, kept, "forget", "--keep-last", "1", "--group-by", "")
        return read_whole(file, identity)

    with monkeypatch.context() as patch:
        patch.setattr(_witness, "_read_whole", beside)
        evidence = kept.restore_test(key=key)
    assert evidence.passed, evidence.reason
    assert [item.key for item in kept.homelab.repository("app/files").snapshots()] == [key, *met]
    by_hand(restic, kept, "prune")  # nothing is left of the lock
