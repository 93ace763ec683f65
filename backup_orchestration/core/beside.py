"""A program that runs beside a block of ours, such as a server in a lab, and is stopped after it."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backup_orchestration.core.commands import KEPT_ERROR_LINES, Command, Process, read_beside, start
from backup_orchestration.core.processes import end_sessions
from backup_orchestration.core.redaction import REDACTOR


class Running:
    """A program that runs beside us; see `running`."""

    def __init__(self, command: Command, process: Process) -> None:
        self.name = command.name
        self._pid = process.pid
        self._lines: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        assert process.stdout and process.stderr  # noqa: S101 - both are pipes
        self._readers = [
            read_beside(stream, self._lines.append, redact=True) for stream in (process.stdout, process.stderr)
        ]

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        # Left to be collected, so that its process id names it, and the session it led, to the end.
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def signal(self, number: signal.Signals) -> None:
        """Tell it something; nothing happens when it has ended."""
        os.kill(self._pid, number)

    def lines(self) -> Sequence[str]:
        """The last lines it has said, redacted. Once it has ended: the very last."""
        if self.returncode is not None:
            self._drain()
        return [REDACTOR.clean(line.strip()[:500]) for line in list(self._lines) if line.strip()]

    def last_line(self) -> str:
        """The last thing it has said, as `lines`; empty if nothing."""
        return next(reversed(self.lines()), "")

    def _drain(self) -> None:
        for reader in self._readers:
            reader.join(timeout=1)  # who has left the session may hold the pipe open for ever


@contextmanager
def running(command: Command, grace: float, inherit: Sequence[int] = ()) -> Iterator[Running]:
    """Run a program beside the block, in a session of its own, and stop all of the session after it.

    Args:
        command: its timeout is not used.
        grace: seconds from SIGTERM to SIGKILL.
        inherit: file descriptors that it gets.

    Raises:
        ToolMissingError: it cannot be started.
    """
    process = start(command, inherit)
    beside = Running(command, process)
    try:
        yield beside
    finally:
        end_sessions([process.pid], grace)
        process.wait()
        beside._drain()
