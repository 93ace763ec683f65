"""What restic says of a store that fails, and when that is enough. The lines are those of restic 0.18."""

import pytest

from backup_orchestration.core.errors import CommandFailedError, RepositoryUnreachableError, SourceError, SpaceError
from backup_orchestration.operations.backup import backup
from backup_orchestration.providers._restic_store import StoreWatch

SAVE = "Save(<data/3b96225089>)"
LOAD = "Load(<data/aa44fbbc47>, 0, 0)"
AGAIN = "returned error, retrying after 720.254544ms: client.PutObject: 500 Internal Server Error"
REFUSED = "failed: client.PutObject: Access Denied."


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def heard():
    return []


@pytest.fixture
def watch(clock, heard):
    return StoreWatch(60, heard.append, clock)


def test_a_store_that_answers_is_never_hopeless(watch, clock, heard):
    for line in ("repository a opened", '{"message_type":"error","error":{"message":"x failed: y"}}', ""):
        watch.hear(line)
    clock.now += 10_000
    assert not watch.hopeless()
    assert (watch.reason, heard) == ("", [])


def test_what_fails_for_too_long_is_hopeless_and_told_once(watch, clock, heard):
    watch.hear(f"\x1b[2K{SAVE} {AGAIN}")
    clock.now += 59
    watch.hear(f"{SAVE} {AGAIN}")
    assert not watch.hopeless()
    clock.now += 1
    assert watch.hopeless()
    assert heard == [watch.reason] == ["client.PutObject: 500 Internal Server Error"]


def test_what_recovers_in_time_is_forgiven(watch, clock):
    watch.hear(f"{SAVE} {AGAIN}")
    clock.now += 59
    watch.hear(f"{SAVE} operation successful after 3 retries")
    clock.now += 59
    watch.hear(f"{SAVE} {AGAIN}")
    clock.now += 59
    assert not watch.hopeless()
    watch.hear(f"{SAVE} operation successful after 1 retries")
    assert watch.reason == ""


def test_what_succeeds_beside_it_does_not_excuse_what_fails(watch, clock):
    watch.hear(f"{LOAD} {AGAIN}")
    clock.now += 30
    watch.hear(f"{SAVE} {AGAIN}")
    watch.hear(f"{SAVE} operation successful after 1 retries")
    clock.now += 30
    assert watch.hopeless()


def test_a_refusal_that_restic_does_not_repeat_is_a_reason(watch):
    watch.hear(f"{SAVE} {REFUSED}")
    assert watch.reason == "client.PutObject: Access Denied."
    assert not watch.hopeless()


def test_a_backup_whose_upload_is_refused_has_to_end(watch, clock):
    """restic 0.18.0 does not always end, with a full disk for example. A read that failed may be gone without."""
    watch.hear(f"{LOAD} {REFUSED}")
    clock.now += 30
    assert not watch.hopeless()
    watch.hear(f"{SAVE} failed: write /b/data/aa: no space left on device")
    clock.now += 19
    assert not watch.hopeless()
    clock.now += 1
    assert watch.hopeless()


@pytest.mark.parametrize(
    "why", ["The specified key does not exist.", "open /b/locks/aa: no such file or directory", "404 Not Found"]
)
def test_what_is_not_there_is_an_answer(watch, clock, why):
    """A lock that its holder took away, for example."""
    watch.hear(f"Load(<lock/aaaaaaaaaa>, 0, 0) failed: {why}")
    clock.now += 10_000
    assert (watch.reason, watch.hopeless()) == ("", False)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (f"{SAVE} {REFUSED}", RepositoryUnreachableError),
        (f"{SAVE} {AGAIN}", RepositoryUnreachableError),
        (f"{SAVE} failed: write /backups/x: no space left on device", SpaceError),
        (f"{SAVE} {AGAIN}\n{SAVE} operation successful after 1 retries", CommandFailedError),
        ("Fatal: something else", CommandFailedError),
    ],
)
def test_why_restic_failed_is_its_store_or_itself(site, fake, line, error):
    """Each names the repository."""
    fake.answer(backup=[{"skip": True, "code": 1, "stderr": f"{line}\n"}])
    with pytest.raises(error, match="backups/restic-app-files") as caught:
        site.backup()
    assert type(caught.value) is error


def test_a_source_that_cannot_be_read_is_not_blamed_on_the_store(site, fake):
    fake.answer(backup=[{"code": 3, "stderr": f"Remove(<lock/1>) {REFUSED}\n"}])
    with pytest.raises(SourceError, match="restic could not read all of app/files"):
        site.backup()


def test_a_person_is_told_that_the_store_fails(site, fake):
    heard = []
    lines = f"{SAVE} {AGAIN}\n{SAVE} operation successful after 1 retries\n"
    fake.answer(backup=[{"stderr": lines}])
    backup(site.homelab, "app/files", "run", heard.append)
    (told,) = [update.message for update in heard if update.stage == "waiting"]
    assert "backups/restic-app-files fails, and is asked again: client.PutObject: 500" in told


def test_restic_is_asked_to_tell_early(site, fake):
    """A request that is stuck, after a minute; and no silent attempts before."""
    site.backup()
    for call in fake.calls():
        assert "--stuck-request-timeout=60s" in call.argv
        assert "--option=s3.retries=1" in call.argv
