"""Private files, and files that are whole or not there."""

from __future__ import annotations

import multiprocessing
import os
import stat

import pytest

from backup_orchestration.core.private_files import private_directory, private_file, write_atomically


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


def killed_in(directory, pipe):
    with private_file(directory, "secret"):
        pipe.send(None)
        pipe.recv()


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(tmp_path):
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    holder = fork.Process(target=killed_in, args=(tmp_path, theirs))
    holder.start()
    try:
        ours.recv()
        (held,) = tmp_path.iterdir()
        with private_file(tmp_path, "other") as path:
            assert set(tmp_path.iterdir()) == {held, path}
    finally:
        holder.kill()
        holder.join()
    assert held.exists()
    with private_file(tmp_path, "third") as path:
        assert list(tmp_path.iterdir()) == [path]
