"""The process lab is destroyed whatever happens, and what a killed process left is found."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import tempfile

import pytest

from backup_orchestration.throwaway import process
from backup_orchestration.throwaway.process import destroy, process_lab, reap

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def labs(tmp_path):
    return tmp_path / "state/labs"


@pytest.fixture
def outside(tmp_path):
    """What no lab may touch: restored links point here."""
    directory = tmp_path / "outside"
    directory.mkdir(mode=0o751)
    (directory / "precious").write_text("precious")
    return directory


def fill(data) -> None:
    """What a snapshot of a careful person looks like: directories that nobody can write or even enter."""
    for name, mode in (("read-only", 0o500), ("closed", 0o000)):
        inner = data / name / "inner"
        inner.mkdir(parents=True)
        (inner / "file").write_text("x")
        (inner / "file").chmod(0o000)
        inner.chmod(mode)
        inner.parent.chmod(mode)


def live_in(labs, pipe):
    with process_lab(labs, "app-files") as lab:
        fill(lab.data)
        pipe.send(lab.root.name)
        pipe.recv()


@pytest.fixture
def inhabited(labs):
    """A lab that another process uses: its name, the process, and the pipe that ends it."""
    ours, theirs = FORK.Pipe()
    worker = FORK.Process(target=live_in, args=(labs, theirs))
    worker.start()
    theirs.close()
    yield ours.recv(), worker, ours
    worker.kill()
    worker.join()


def test_a_lab_is_a_private_empty_place_and_gone_afterwards(labs):
    with process_lab(labs, "app-files") as lab:
        assert stat.S_IMODE(lab.root.stat().st_mode) == 0o700
        assert stat.S_IMODE(lab.data.stat().st_mode) == 0o700
        assert list(lab.data.iterdir()) == []
        assert lab.root.name.startswith("app-files-")
    assert list(labs.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_lab_is_destroyed_after_an_exception(labs, error):
    with pytest.raises(error):
        with process_lab(labs, "app-files") as lab:
            fill(lab.data)
            raise error
    assert list(labs.iterdir()) == []


def test_links_out_of_the_lab_are_removed_and_not_followed(labs, outside):
    with process_lab(labs, "app-files") as lab:
        (lab.data / "directory").symlink_to(outside)
        (lab.data / "file").symlink_to(outside / "precious")
        (lab.data / "dangling").symlink_to("nowhere")
        fill(lab.data)
        (lab.data / "deep").mkdir()
        (lab.data / "deep/link").symlink_to(outside)
    assert list(labs.iterdir()) == []
    assert (outside / "precious").read_text() == "precious"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o751


def test_two_labs_for_one_target_are_two_places(labs):
    with process_lab(labs, "app-files") as one, process_lab(labs, "app-files") as other:
        assert one.root != other.root


def test_the_reaper_takes_what_a_killed_process_left(labs, inhabited):
    name, worker, _ = inhabited
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert reap(labs) == [name]
    assert list(labs.iterdir()) == []


def test_the_reaper_leaves_a_lab_that_is_lived_in(labs, inhabited):
    name, worker, pipe = inhabited
    assert reap(labs) == []
    assert (labs / name / "data").is_dir()
    pipe.send("leave")
    worker.join(20)
    assert worker.exitcode == 0
    assert list(labs.iterdir()) == []


def test_the_reaper_kills_what_still_works_in_a_lab_that_nobody_holds(labs, inhabited):
    """A server's children lead sessions of their own, and outlive who started them."""
    name, worker, _ = inhabited
    deep = labs / name / "data" / "deep"
    deep.mkdir()
    left = subprocess.Popen(["sleep", "600"], cwd=deep, start_new_session=True)
    elsewhere = subprocess.Popen(["sleep", "600"], cwd=labs.parent, start_new_session=True)
    try:
        worker.kill()
        worker.join()
        assert reap(labs) == [name]
        assert left.wait(10) == -signal.SIGKILL
        assert elsewhere.poll() is None
    finally:
        for process in (left, elsewhere):
            process.kill()
            process.wait()


def test_a_place_for_sockets_has_a_short_path_and_goes_with_the_lab(labs, monkeypatch, tmp_path):
    for temporary in (tmp_path / "short", tmp_path / ("long" * 40)):
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        with process_lab(labs, "app-files") as lab:
            sockets = lab.sockets()
            assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
            assert len(f"{sockets}/.s.PGSQL.5432") < 107
            (sockets / ".s.PGSQL.5432").touch()
        assert not sockets.exists()


@pytest.mark.parametrize("moment", ["before", "in-the-midst", "after"])
def test_the_reaper_leaves_a_lab_alone_that_is_being_destroyed(labs, monkeypatch, moment):
    """Another restore test begins, and reaps, while this one takes down its lab piece by piece."""
    reaped = []

    def slowly(root):
        if moment == "before":
            reaped.append(reap(labs))
        for path in root.iterdir():
            path.unlink() if path.is_file() else None
        (root / "data").rmdir()
        if moment == "in-the-midst":
            reaped.append(reap(labs))
        destroy(root)
        if moment == "after":
            reaped.append(reap(labs))

    monkeypatch.setattr(process, "destroy", slowly)
    with process_lab(labs, "app-files"):
        pass
    assert reaped == [[]]
    assert list(labs.iterdir()) == []


def test_the_reaper_has_nothing_to_do_where_nothing_is(labs):
    assert reap(labs) == []
    labs.mkdir(parents=True)
    (labs / "a-file").write_text("not a lab")
    assert reap(labs) == []
    assert (labs / "a-file").exists()


@pytest.mark.usefixtures("swept")
def test_a_lab_of_a_thousand_levels_is_destroyed(labs):
    """Python's own removal ends at a thousand, and one that stayed would be in the way of every test after it."""
    with process_lab(labs, "app-files") as lab:
        path = lab.data
        for _ in range(1050):
            path = path / "d"
            path.mkdir()
    assert list(labs.iterdir()) == []
