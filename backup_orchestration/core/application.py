"""Starts an application inside a lab for as long as a block lasts; how it is kept there: `core.isolation`."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core import isolation
from backup_orchestration.core.beside import Running, running
from backup_orchestration.core.commands import Command
from backup_orchestration.core.errors import LabError, ToolMissingError

GRACE_SECONDS = 5.0
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Application:
    """An application that runs in a lab.

    Attributes:
        isolated: it has no network but its own loopback and can write only in the lab.
        port: that it should listen on, on 127.0.0.1 of its network.
    """

    isolated: bool
    port: int
    _program: Running
    _channel: socket.socket

    @property
    def returncode(self) -> int | None:
        """Its exit code, or 128 and the signal that ended it; None while it runs."""
        return self._program.returncode

    def last_line(self) -> str:
        """The last thing it has said, redacted."""
        return self._program.last_line()

    def connect(self) -> socket.socket | None:
        """A connection to its port; None if it does not listen.

        Raises:
            LabError: another program listens there.
        """
        try:
            self._channel.send(b"?")
            answer, handles, _, _ = socket.recv_fds(self._channel, 1, 1)
        except OSError:  # it has ended
            return None
        if answer == isolation.FOREIGN:
            raise LabError(f"port {self.port} was taken by another program", remedy="run the test again")
        if not handles:
            return None
        connected = socket.socket(fileno=handles[0])
        connected.setblocking(True)  # it shares the state that the time limit of the other side has left
        return connected


@contextmanager
def application(argv: Sequence[str], port: int, lab: Path, environment: Mapping[str, str]) -> Iterator[Application]:
    """Run an application for the block, and end all that came of it afterwards.

    Args:
        argv: argument list; the program is found on PATH.
        port: that it was told to listen on.
        lab: directory that it may write to.
        environment: added to the minimal one.

    Raises:
        ToolMissingError: the program is not on this machine.
    """
    if shutil.which(argv[0]) is None:
        raise ToolMissingError(f"{argv[0]} is not on this machine, or cannot be run", remedy="install it")
    ours, its = socket.socketpair()
    with ours, its:
        ours.settimeout(_ANSWER_SECONDS)
        child = [sys.executable, "-P", "-m", isolation.__name__, str(its.fileno()), str(port), str(lab), *argv]
        with running(Command(child, 0, environment, lab), GRACE_SECONDS, [its.fileno()]) as program:
            its.close()
            try:
                isolated = ours.recv(1)
            except TimeoutError:
                isolated = b""
            if not isolated:
                raise LabError(f"{argv[0]} could not be started in the lab: {program.last_line()}")
            yield Application(isolated == isolation.ISOLATED, port, program, ours)


def free_port() -> int:
    """A port of the loopback address that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
