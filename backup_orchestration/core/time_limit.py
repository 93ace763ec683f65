"""A time limit on work that may never end, such as reading what somebody else has made."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from backup_orchestration.core.errors import TimeIsUpError


class _Bell(BaseException):
    """Passes through `except Exception`, which would take it for a fault of the data."""


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Stop the block when its time is up, wherever it waits.

    By SIGALRM, which only the main thread hears: there every run works, of the command line and of Dagster. In
    another thread there is no limit. C code that never returns to Python is not interrupted.

    Args:
        seconds: how long it may take.
        what: what it is, for the message.

    Raises:
        TimeIsUpError: it was stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    rung = False

    def ring(_number: int, _frame: FrameType | None) -> None:
        nonlocal rung
        rung = True
        raise _Bell

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except BaseException:
        # Whatever came of it: a callback of SQLite turns it into an error of the database.
        if rung:
            raise TimeIsUpError(f"{what} was stopped after {seconds:g} s") from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
