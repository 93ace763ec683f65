"""What each exit code of restic leads to, and that none but 0 leads to a snapshot or to evidence."""

import json
import signal

import pytest

from backup_orchestration.core.errors import (
    CommandFailedError,
    RepositoryLockedError,
    RepositoryMissingError,
    RepositoryUnreachableError,
    RepositoryVanishedError,
    RestoreFailedError,
    SourceError,
    SpaceError,
    ToolLiedError,
    WrongPasswordError,
)
from backup_orchestration.operations.backup import Wish, backup
from backup_orchestration.providers.base import RestoreSpec

# A code that no restic of today has stands for those of tomorrow.
CODES = {
    1: CommandFailedError,
    2: CommandFailedError,
    3: CommandFailedError,
    11: RepositoryLockedError,
    12: WrongPasswordError,
    77: CommandFailedError,
    130: CommandFailedError,
}
FATAL = json.dumps({"message_type": "exit_error", "code": 1, "message": "Fatal: something is wrong"})
NEW = Wish(new_repository=True)


def records(site):
    return site.homelab.evidence().ledger("app/files", "default").records


def failing(code, text=FATAL):
    return {"skip": True, "code": code, "stderr": text + "\n"}


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_no_code_but_10_makes_a_repository(site, fake, code, existed):
    """Also not when a person asks for a new one: whatever is there is still there."""
    fake.answer(cat=[failing(code)])
    with pytest.raises(CODES[code]) as caught:
        backup(site.homelab, "app/files", "run", existed=existed, wish=NEW)
    assert type(caught.value) is CODES[code]
    assert fake.verbs() == ["cat"]
    assert not (site.root / "backups").exists()


def test_code_10_makes_a_repository_where_none_is_known_to_have_been(site, fake):
    snapshot = site.backup()
    assert fake.verbs() == ["cat", "init", "cat", "backup", "snapshots"]
    assert [item["id"] for item in fake.stored(site)] == [snapshot.snapshot_id]


def test_code_10_makes_none_where_one_is_known_to_have_been(site, fake):
    with pytest.raises(RepositoryVanishedError) as caught:
        backup(site.homelab, "app/files", "run", existed=True)
    assert "--new-repository" in caught.value.remedy
    assert fake.verbs() == ["cat"]
    snapshot = backup(site.homelab, "app/files", "run", existed=True, wish=NEW)
    assert [item["id"] for item in fake.stored(site)] == [snapshot.snapshot_id]


def test_the_word_for_a_new_repository_leaves_the_one_that_is_there(site, fake):
    first = site.backup()
    second = backup(site.homelab, "app/files", "run", wish=NEW)
    assert first.repository_id == second.repository_id
    assert len(fake.stored(site)) == 2


@pytest.mark.parametrize("code", CODES)
def test_a_repository_that_cannot_be_made_is_an_error(site, fake, code):
    fake.answer(init=[failing(code)])
    with pytest.raises(CODES[code]):
        site.backup()
    assert fake.verbs() == ["cat", "init"]


@pytest.mark.parametrize("code", {**CODES, 10: RepositoryMissingError}.keys() - {3})
def test_a_backup_that_ends_with_any_other_code_is_an_error(site, fake, code):
    """Whatever it says on stdout: the summary comes before the end."""
    fake.seed(site)
    fake.answer(backup=[{"code": code, "stderr": FATAL}])
    with pytest.raises({**CODES, 10: RepositoryMissingError}[code]):
        site.backup()
    assert fake.verbs() == ["cat", "backup"]


def test_an_incomplete_snapshot_is_discarded_by_its_id_and_named_by_its_reason(site, fake):
    kept = site.backup()
    unread = {"message_type": "error", "error": {"message": "open: permission denied"}, "item": "/srv/x"}
    fake.answer(backup=[{"code": 3, "stderr": json.dumps(unread)}])
    with pytest.raises(SourceError, match="/srv/x: open: permission denied"):
        site.backup()
    assert fake.verbs() == ["cat", "backup", "forget"]
    (forget,) = fake.calls("forget")
    assert [item["id"] for item in fake.stored(site)] == [kept.snapshot_id]
    (identity,) = [word for word in forget.argv if len(word) == 64]
    assert identity != kept.snapshot_id
    assert [word for word in forget.argv if not word.startswith("-")] == ["forget", identity]
    assert not [word for word in forget.argv if word.startswith(("--keep", "--prune", "--tag", "--unsafe"))]


def test_code_3_without_a_snapshot_forgets_nothing(site, fake):
    fake.seed(site)
    fake.answer(backup=[{**failing(3), "stdout": ""}])
    with pytest.raises(SourceError):
        site.backup()
    assert fake.verbs() == ["cat", "backup"]


def test_a_stale_lock_does_not_keep_an_incomplete_snapshot(site, fake):
    kept = site.backup()
    locked = failing(11, "repository is already locked by PID 1")
    lock = {"time": "2026-11-23T02:00:03.123456789Z", "hostname": "gone", "pid": 1}
    fake.answer(backup=[{"code": 3, "leaves": lock}], forget=[locked])
    with pytest.raises(SourceError) as caught:
        site.backup()
    assert fake.verbs() == ["cat", "backup", "forget", "cat", "forget"]
    assert [item["id"] for item in fake.stored(site)] == [kept.snapshot_id]
    assert "still listed" not in str(caught.value)


def test_an_incomplete_snapshot_that_stays_is_named_beside_the_reason(site, fake):
    fake.seed(site)
    locked = failing(11, "repository is already locked by PID 1")
    unread = json.dumps({"message_type": "error", "error": {"message": "permission denied"}, "item": "/srv/x"})
    fake.answer(backup=[{"code": 3, "stderr": unread}], forget=[locked])
    with pytest.raises(SourceError, match=r"/srv/x: permission denied; .* is still listed: .* locked by PID 1"):
        site.backup()


@pytest.mark.parametrize("code", CODES)
def test_nothing_is_ever_forgotten_but_after_code_3(site, fake, code):
    fake.seed(site, fake.snapshot(site))
    answers = {"backup": [{"code": code, "stderr": FATAL}], "snapshots": [failing(code), failing(code)]}
    fake.answer(**answers)
    with pytest.raises((CommandFailedError, SourceError, RepositoryLockedError, WrongPasswordError)):
        site.backup()
    with pytest.raises(CODES[code]):
        site.judge()
    assert ("forget" in fake.verbs()) is (code == 3)


@pytest.mark.parametrize("code", CODES)
def test_a_list_that_fails_is_an_error_and_never_an_empty_list(site, fake, code):
    fake.seed(site, fake.snapshot(site))
    fake.answer(snapshots=[{**failing(code), "stdout": "[]"}])
    with pytest.raises(CODES[code]):
        site.homelab.repository("app/files").snapshots()


@pytest.mark.parametrize("code", CODES)
def test_a_read_back_that_fails_is_an_error(site, fake, code):
    fake.answer(snapshots=[failing(code)])
    with pytest.raises(CODES[code]):
        site.backup()


@pytest.mark.parametrize("code", [2, 3, 10, 11, 12, 77, 130])
def test_a_restore_that_cannot_be_carried_out_leaves_no_evidence(site, fake, code):
    fake.seed(site, fake.snapshot(site))
    fake.answer(restore=[failing(code)])
    with pytest.raises({**CODES, 10: RepositoryMissingError}[code]):
        site.restore_test()
    assert records(site) == ()
    assert list((site.root / ".homelab").glob("labs/*")) == []


def test_a_restore_that_restic_gives_up_is_evidence_against_the_snapshot(site, fake):
    fake.seed(site, fake.snapshot(site))
    fake.answer(restore=[failing(1)])
    evidence = site.restore_test()
    assert (evidence.passed, evidence.reason.split(":")[0]) == (False, "restore")
    assert "something is wrong" in evidence.reason
    assert [record.passed for record in records(site)] == [False]


def test_a_full_disk_is_no_evidence_against_the_snapshot(site, fake):
    fake.seed(site, fake.snapshot(site))
    fake.answer(restore=[failing(1, "write /lab/x: no space left on device")])
    with pytest.raises(SpaceError):
        site.restore_test()
    assert records(site) == ()


def test_a_restic_that_was_told_to_stop_is_no_evidence_against_the_snapshot(site, fake):
    fake.seed(site, fake.snapshot(site))
    errors = json.dumps({"message_type": "exit_error", "code": 1, "message": "Fatal: There were 3 errors"})
    fake.answer(restore=[failing(1, f"\x1b[2Ksignal terminated received, cleaning up\n{errors}")])
    with pytest.raises(CommandFailedError, match="There were 3 errors"):
        site.restore_test()
    assert records(site) == ()


def test_a_killed_restic_is_an_error(site, fake):
    fake.seed(site, fake.snapshot(site))
    fake.answer(backup=[{"signal": signal.SIGKILL}], restore=[{"signal": signal.SIGKILL}])
    with pytest.raises(CommandFailedError):
        site.backup()
    with pytest.raises(CommandFailedError):
        site.restore_test()
    assert records(site) == ()


@pytest.mark.parametrize("words", ["open /x/config: permission denied", "dial tcp 192.0.2.1:443: connection refused"])
def test_a_store_that_does_not_answer_is_told_from_a_missing_repository(site, fake, words):
    fake.answer(cat=[failing(1, f"Fatal: unable to open repository: {words}")])
    with pytest.raises(RepositoryUnreachableError, match=words):
        site.backup()
    assert fake.verbs() == ["cat"]


@pytest.mark.parametrize("witnessed", [True, False])
def test_a_restore_that_restores_nothing_and_ends_with_0_has_failed(site, fake, tmp_path, witnessed):
    fake.seed(site, fake.snapshot(site))
    repository = site.homelab.repository("app/files")
    (snapshot,) = repository.snapshots()
    for stdout in ("", "{}\n", '{"message_type":"summary"}\n', '{"message_type":"summary","files_restored":0}\n'):
        fake.answer(restore=[{"skip": True, "stdout": stdout}])
        with pytest.raises(RestoreFailedError, match="restored nothing"):
            repository.restore(snapshot, RestoreSpec(tmp_path, witnessed=witnessed), lambda update: None)


def test_a_repository_that_init_did_not_make_is_a_lie(site, fake):
    fake.answer(init=[{"skip": True}])
    with pytest.raises(ToolLiedError, match="init"):
        site.backup()
    assert "backup" not in fake.verbs()
