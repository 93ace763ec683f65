"""What never ends is stopped, wherever it waits."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading

import pytest

from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import TimeIsUpError
from backup_orchestration.core.sqlite_rows import distrust
from backup_orchestration.core.time_limit import time_limit

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def open_a_pipe(directory):
    os.mkfifo(directory / "pipe")
    (directory / "pipe").read_bytes()


def ask_without_end(directory):
    database = sqlite3.connect(directory / "a.db")
    distrust(database, 0)
    try:
        database.execute(ENDLESS)
    except sqlite3.Error as error:
        raise RuntimeError("as a probe calls it") from error
    finally:
        database.close()


def swallow(directory):
    while True:
        try:
            open_a_pipe(directory)
        except Exception:  # noqa: BLE001
            continue


def start_a_child(directory):
    run(Command(["sh", "-c", f"echo $$ >{directory}/pid; exec sleep 600"], 600))


@pytest.mark.parametrize("work", [open_a_pipe, ask_without_end, swallow, start_a_child])
def test_what_never_ends_is_stopped(tmp_path, work):
    with pytest.raises(TimeIsUpError, match=r"probe x was stopped after 0\.3 s"):
        with time_limit(0.3, "probe x"):
            work(tmp_path)
    if (tmp_path / "pid").exists():
        assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")


def test_what_ends_in_time_is_let_alone_and_nothing_rings_later():
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(60, "x"):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_error_in_time_is_the_error():
    with pytest.raises(KeyError):
        with time_limit(60, "x"):
            raise KeyError


def test_in_another_thread_there_is_no_limit():
    done = []

    def work():
        with time_limit(0.01, "x"):
            done.append(threading.Event().wait(0.05))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]
