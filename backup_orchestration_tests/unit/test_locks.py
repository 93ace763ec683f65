"""The lock of a repository, held by real processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time

import pytest

from backup_orchestration.core.errors import RepositoryLockedError, StateError
from backup_orchestration.core.locks import repository_lock

FORK = multiprocessing.get_context("fork")
PLACE = "/backups/restic-app-files"


def hold(directory, pipe):
    with repository_lock(directory, PLACE, timeout=5):
        pipe.send("held")
        pipe.recv()
    pipe.send("released")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock until it is told to let go."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=hold, args=(tmp_path / "locks", theirs))
    process.start()
    theirs.close()
    assert ours.recv() == "held"
    yield process, ours
    process.kill()
    process.join()


def test_a_repository_that_another_process_holds_is_refused_by_name(tmp_path, holder):
    process, _ = holder
    started = time.monotonic()
    with pytest.raises(RepositoryLockedError, match=f"{PLACE} is held by process {process.pid} "):
        with repository_lock(tmp_path / "locks", PLACE, timeout=0.3):
            pytest.fail("two hold it")
    assert 0.3 <= time.monotonic() - started < 5


def test_who_waits_is_told_once_and_gets_it(tmp_path, holder):
    _, pipe = holder
    waits = []

    def told():
        waits.append(1)
        threading.Timer(0.5, lambda: pipe.send("let go")).start()

    with repository_lock(tmp_path / "locks", PLACE, timeout=20, on_wait=told):
        assert pipe.poll(5)
        assert pipe.recv() == "released"
    assert waits == [1]


def test_a_killed_process_holds_nothing(tmp_path, holder):
    process, _ = holder
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with repository_lock(tmp_path / "locks", PLACE, timeout=0):
        pass


def test_another_repository_is_free(tmp_path, holder):
    with repository_lock(tmp_path / "locks", f"{PLACE}-2", timeout=0):
        pass


def test_threads_of_one_process_exclude_each_other_too(tmp_path):
    with repository_lock(tmp_path, PLACE, timeout=0):
        with pytest.raises(RepositoryLockedError, match=f"held by process {os.getpid()} "):
            with repository_lock(tmp_path, PLACE, timeout=0):
                pytest.fail("two hold it")


def test_an_exception_lets_go(tmp_path):
    with pytest.raises(KeyError):
        with repository_lock(tmp_path, PLACE, timeout=0):
            raise KeyError
    waits = []
    with repository_lock(tmp_path, PLACE, timeout=0, on_wait=lambda: waits.append(1)):
        assert waits == []


def test_a_place_whose_name_is_no_text_can_be_held(tmp_path):
    with repository_lock(tmp_path, "/backups/\udcff", timeout=0):
        pass


def test_what_a_child_inherits_does_not_keep_the_lock(tmp_path):
    """A tool that outlives us must not hold the repository by a file descriptor it never asked for."""
    with repository_lock(tmp_path, PLACE, timeout=0):
        child = os.posix_spawn("/bin/sleep", ["sleep", "30"], os.environ)
    try:
        with repository_lock(tmp_path, PLACE, timeout=5):  # the kernel closes files only just after the start
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("locks", ["file", "file/locks"])
def test_a_place_for_locks_that_cannot_be_made_is_named(tmp_path, locks):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match=rf"no lock can be made in .*/{locks}: ") as caught:
        with repository_lock(tmp_path / locks, PLACE, timeout=0):
            pytest.fail("nothing is held")
    assert "mode" in caught.value.remedy


def test_on_a_full_disk_it_can_be_held_all_the_same(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with repository_lock(tmp_path, "repository", timeout=0):
        with pytest.raises(RepositoryLockedError):
            with repository_lock(tmp_path, "repository", timeout=0):
                pass
