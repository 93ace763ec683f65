"""Snapshots that are being restored, by real processes."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
from records import snapshot

from backup_orchestration.core.readers import being_read, forget, gate, reading

FORK = multiprocessing.get_context("fork")
OLD, NEW = snapshot(2), snapshot(1)
PLACE = OLD.repository


def hold(directory, pipe):
    with reading(directory, PLACE, OLD, timeout=5):
        pipe.send("reading")
        pipe.recv()
    pipe.send("done")


@pytest.fixture
def reader(tmp_path):
    """Another process that restores OLD until it is told to end."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    theirs.close()
    assert ours.recv() == "reading"
    yield process, ours
    process.kill()
    process.join()


def test_who_reads_is_seen_until_he_ends_beside_others(tmp_path, reader):
    _, pipe = reader
    with reading(tmp_path, PLACE, OLD, timeout=5):
        assert being_read(tmp_path, [NEW, OLD]) == [OLD]
    assert being_read(tmp_path, [NEW, OLD]) == [OLD]
    pipe.send("end")
    assert pipe.recv() == "done"
    assert being_read(tmp_path, [NEW, OLD]) == []


def test_who_is_killed_reads_no_more(tmp_path, reader):
    process, _ = reader
    process.kill()
    process.join()
    assert being_read(tmp_path, [OLD]) == []


def test_nobody_begins_to_read_while_the_gate_is_closed(tmp_path):
    waits, began = threading.Event(), threading.Event()

    def read():
        with reading(tmp_path, PLACE, OLD, timeout=20, on_wait=waits.set):
            began.set()

    with gate(tmp_path, PLACE, timeout=5):
        thread = threading.Thread(target=read)
        thread.start()
        assert waits.wait(10)
        assert not began.is_set() and being_read(tmp_path, [OLD]) == []
    thread.join()
    assert began.is_set()


def test_of_what_is_gone_nothing_is_left(tmp_path):
    for item in (OLD, NEW):
        with reading(tmp_path, PLACE, item, timeout=5):
            pass
    forget(tmp_path, [OLD, OLD])
    assert len(list((tmp_path / "readers").iterdir())) == 1
