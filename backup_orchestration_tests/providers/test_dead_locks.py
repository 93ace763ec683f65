"""Locks in a repository: those of dead processes are taken away, and no process is signalled for it."""

import json
import os
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

IDENTITY = "b" * 64


@pytest.fixture
def running(tmp_path):
    """Starts a program under a name; returns its process id."""
    begun = []

    def start(name):
        program = tmp_path / name
        shutil.copy(shutil.which("sleep"), program)
        begun.append(subprocess.Popen([program, "300"]))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


@pytest.fixture
def ended():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def plant(site, fake):
    """Puts a lock into a repository that has no snapshot; returns its file."""
    fake.seed(site)

    def put(pid, host=None, age=timedelta(0), **more):
        lock = {"time": f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%S.123456789Z}", "pid": pid, **more}
        path = site.root / "backups" / "restic-app-files" / "locks" / IDENTITY
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**lock, "hostname": host or socket.gethostname(), "exclusive": False}))
        return path

    return put


def test_the_lock_of_a_dead_process_goes_before_a_backup(site, fake, plant, ended):
    lock = plant(ended)
    site.backup()
    assert not lock.exists()
    (read, _) = fake.calls("cat")
    assert read.argv[-3:] == ["cat", "lock", IDENTITY] and "--no-lock" in read.argv
    assert "unlock" not in fake.verbs()


def test_the_lock_of_a_living_restic_stays(site, plant, running):
    lock = plant(running("restic-0.18.0").pid)
    site.backup()
    assert lock.exists()


def test_a_process_id_that_another_program_has_now_is_dead_and_that_program_lives(site, plant, running):
    """`restic unlock` would end it by SIGHUP, and keep the lock."""
    stranger = running("stranger")
    lock = plant(stranger.pid)
    site.backup()
    assert not lock.exists()
    assert stranger.poll() is None


@pytest.mark.parametrize(("minutes", "stays"), [(29, True), (31, False)])
def test_the_lock_of_another_host_goes_when_it_was_not_renewed(site, plant, ended, minutes, stays):
    lock = plant(ended, host="elsewhere", age=timedelta(minutes=minutes))
    site.backup()
    assert lock.exists() is stays


def test_a_lock_that_was_not_renewed_is_dead_whoever_has_its_process_id(site, plant, running):
    lock = plant(running("restic").pid, age=timedelta(minutes=31))
    site.backup()
    assert not lock.exists()


@pytest.mark.parametrize("text", ["", "{}", '{"hostname": "here"}'])
def test_a_lock_that_cannot_be_read_is_left_alone(site, plant, text):
    lock = plant(1)
    lock.write_text(text)
    assert site.backup()
    assert lock.exists()


def test_looking_takes_no_lock(site, fake, plant):
    """It works on a full store and on one that may only be read, and beside a prune."""
    plant(os.getpid(), host="elsewhere")
    site.homelab.repository("app/files").snapshots()
    site.backup()
    assert {call.verb for call in fake.calls() if "--no-lock" in call.argv} == {"cat", "snapshots"}
    assert all("--no-lock" in call.argv for call in fake.calls() if call.verb != "backup")
