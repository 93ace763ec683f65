"""Private files, and files that are whole or not there."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import stat

import pytest

from backup_orchestration.core.private_files import private_directory, private_file, write_atomically

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def open_umask():
    """A umask that would let everybody in."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("open_umask")
def test_only_we_can_enter_what_was_made(tmp_path):
    made = private_directory(tmp_path / "a" / "b" / "c")
    assert [mode(path) for path in (made, made.parent, made.parent.parent)] == [0o700] * 3
    assert private_directory(made) == made


@pytest.mark.usefixtures("open_umask")
def test_a_private_file_is_ours_alone_and_gone_afterwards(tmp_path):
    with private_file(tmp_path, "sécret") as path:
        assert mode(path) == 0o600
        assert path.read_text(encoding="utf-8") == "sécret"
    assert list(tmp_path.iterdir()) == []


def test_a_private_file_is_gone_after_an_exception(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with private_file(tmp_path, "secret"):
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_private_file_that_could_not_be_written_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        with private_file(tmp_path, "\udc80"):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("open_umask")
def test_written_is_what_is_there(tmp_path):
    path = tmp_path / "record"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, failing):
    path = tmp_path / "record"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_content_stands_until_the_new_one_is_on_disk(tmp_path, monkeypatch):
    path = tmp_path / "record"
    write_atomically(path, b"old")
    seen = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append(path.read_bytes()), real(handle))[1])
    write_atomically(path, b"new")
    assert seen == [b"old", b"new"]  # the file's, then the directory's


def live_with(directory, pipe):
    with private_file(directory, "canary") as path:
        pipe.send(path)
        pipe.recv()


def test_what_a_killed_process_left_goes_when_the_next_one_is_made(tmp_path):
    ours, theirs = FORK.Pipe()
    others = [FORK.Process(target=live_with, args=(tmp_path, theirs)) for _ in range(2)]
    paths = []
    for other in others:
        other.start()
        paths.append(ours.recv())
    others[0].kill()
    others[0].join()
    assert [path.exists() for path in paths] == [True, True]
    with private_file(tmp_path, "another") as path:
        assert [item.exists() for item in (*paths, path)] == [False, True, True]
    ours.send("leave")
    others[1].join(20)
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, swept = fcntl.flock, []

    def late(handle, operation):
        if not swept and operation == fcntl.LOCK_EX:
            swept.extend(path.unlink() for path in tmp_path.iterdir())
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with private_file(tmp_path, "text") as path:
        assert swept and path.read_text() == "text"
