"""The one module that runs other programs.

Argument lists only, a minimal environment, both streams read to the end by threads of their own (a
tool that is cut off by a closed pipe leaves its locks behind), every line redacted, SIGTERM and a
wait before SIGKILL, whatever ends the block. What an exit code means is the caller's knowledge.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread
from typing import IO

from backup_orchestration.core.errors import CommandFailedError, CommandTimeoutError, ToolMissingError
from backup_orchestration.core.identity import identity, within
from backup_orchestration.core.lifeline import die_with_parent, through_setpriv, why_not_started
from backup_orchestration.core.redaction import REDACTOR

LineHandler = Callable[[str], None]
Process = subprocess.Popen[bytes]

# Long enough for restic or pgBackRest to drop its locks after SIGTERM.
_GRACE_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_KEPT_LINES = 100_000
KEPT_ERROR_LINES = 200


@dataclass(frozen=True)
class Command:
    """One program to run.

    Attributes:
        argv: argument list; never holds a secret.
        timeout: seconds until it is stopped.
        env: added to the minimal environment (PATH, HOME, TMPDIR, TZ=UTC, LC_ALL=C).
        cwd: working directory.
        secret: its output is a secret: returned as it is, and kept out of every message.
        grace: seconds it gets to put things away after SIGTERM.
        stdin: what it reads; for text that is too long for an argument.
        user: id of the user it runs as; None: as we do. Only root can run something as somebody else, and what root
            owns itself runs in a user name space in which root has another number, for programs that refuse root.
        cut_off: it has no network but a loopback device of its own, that is down; see `can`.
        writes: directories below which it can write, and nowhere else; None: wherever its user may. See `can`.
        last_signal: what it gets when we are killed.
    """

    argv: tuple[str, ...] | list[str]
    timeout: float
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    secret: bool = False
    grace: float = _GRACE_SECONDS
    stdin: str = ""
    user: int | None = None
    cut_off: bool = False
    writes: tuple[Path, ...] | None = None
    last_signal: signal.Signals = signal.SIGTERM

    @property
    def name(self) -> str:
        """The program's name, for messages."""
        return Path(self.argv[0]).name


@dataclass(frozen=True)
class Completed:
    """How a program ended; both streams redacted, `stderr` cut to its last lines."""

    name: str
    returncode: int
    stdout: str
    stderr: str

    @property
    def reason(self) -> str:
        """The last line of stderr, or of stdout, or the exit code: what to show a person."""
        for text in (self.stderr, self.stdout):
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if lines:
                return REDACTOR.clean(lines[-1][:500])
        return f"exit code {self.returncode}"


def run(
    command: Command,
    on_stdout: LineHandler | None = None,
    on_stderr: LineHandler | None = None,
    hopeless: Callable[[], bool] | None = None,
) -> Completed:
    """Run a program to its end and return how it ended, whatever the exit code.

    Args:
        command: what to run.
        on_stdout: called with each redacted line of stdout as it comes; those lines are then not kept.
        on_stderr: called with each redacted line of stderr as well as keeping the last ones.
        hopeless: asked every half second; the program is stopped when it says so.

    Raises:
        ToolMissingError: the program cannot be started.
        CommandTimeoutError: it did not end in time, or was hopeless, and was stopped.
    """
    out: deque[str] = deque(maxlen=_KEPT_LINES)
    err: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
    handlers = (on_stdout or out.append, _both(err.append, on_stderr))
    readers: list[Thread] = []
    process = start(command)
    try:  # at once: an interrupt may come at any moment
        assert process.stdout and process.stderr  # noqa: S101 - both are pipes
        readers.append(read_beside(process.stdout, handlers[0], redact=not command.secret))
        readers.append(read_beside(process.stderr, handlers[1], redact=True))
        _wait(process, command.timeout, hopeless)
    except subprocess.TimeoutExpired as error:
        raise CommandTimeoutError(
            f"{command.name} did not end within {error.timeout:g} s and was stopped",
            remedy="see whether its store answers, then run it again",
        ) from error
    finally:
        _stop(process, command.grace)
        for reader in readers:
            reader.join(timeout=_GRACE_SECONDS)
        for stream in (process.stdout, process.stderr)[len(readers) :]:  # interrupted before anybody read it
            if stream:
                stream.close()
    if why := why_not_started(process.returncode, err):
        raise _not_started(command, why)
    return Completed(command.name, process.returncode, "\n".join(out), "\n".join(err))


def check(command: Command, meanings: Mapping[int, str] | None = None) -> Completed:
    """Run a program and insist on exit code 0.

    Args:
        command: what to run.
        meanings: what its exit codes mean, for the message.

    Raises:
        CommandFailedError: it ended with another code.
        ToolMissingError, CommandTimeoutError: as `run`.
    """
    done = run(command)
    if done.returncode != 0:
        raise failed(done, meanings)
    return done


def failed(done: Completed, meanings: Mapping[int, str] | None = None) -> CommandFailedError:
    """The error for a program that ended badly, with its own last words."""
    if done.returncode < 0:
        return CommandFailedError(f"{done.name} was killed by {signal.Signals(-done.returncode).name}")
    meaning = (meanings or {}).get(done.returncode)
    known = f" ({meaning})" if meaning else ""
    return CommandFailedError(f"{done.name} ended with exit code {done.returncode}{known}: {done.reason}")


def start_detached(command: Command, log: Path) -> int:
    """Start a program that outlives this one, in a session of its own; returns its process id.

    Args:
        command: its timeout is not used.
        log: file that both of its streams are appended to.

    Raises:
        ToolMissingError: it cannot be started.
    """
    with log.open("ab") as out:
        try:
            process = subprocess.Popen(
                within(command.argv, command.user, cut_off=command.cut_off, writes=command.writes),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=minimal_environment(command.env),
                cwd=command.cwd,
                start_new_session=True,
                **identity(command.user),
            )
        except OSError as error:
            raise ToolMissingError(f"{command.argv[0]} cannot be started: {error.strerror}") from error
    return process.pid


@cache
def can(*, cut_off: bool = False, writes: tuple[Path, ...] | None = None) -> bool:
    """Whether this system lets us confine a program so; a container, AppArmor or an old kernel may not."""
    try:
        return run(Command(("true",), timeout=20, cut_off=cut_off, writes=writes)).returncode == 0
    except ToolMissingError:
        return False


def minimal_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What a child process gets: enough to find its libraries and its home, nothing of ours."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if key in os.environ}
    return {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C", **kept, **extra}


def start(command: Command, inherit: Sequence[int] = ()) -> Process:
    """Start a program with pipes on both of its streams; for `run` and `core.beside`.

    Args:
        command: its timeout is not used.
        inherit: file descriptors that it gets.

    Raises:
        ToolMissingError: it cannot be started.
    """
    argv = within(command.argv, command.user, cut_off=command.cut_off, writes=command.writes)
    env = minimal_environment(command.env)
    setpriv = _setpriv()
    asking = through_setpriv(setpriv, argv, env["PATH"], command.last_signal) if setpriv else None
    try:
        with _input(command.stdin) as stdin:
            return subprocess.Popen(
                asking or argv,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                cwd=command.cwd,
                start_new_session=True,  # a Ctrl-C reaches us, and we stop the child in order
                preexec_fn=None if asking else partial(die_with_parent, command.last_signal),
                pass_fds=inherit,
                **identity(command.user),
            )
    except OSError as error:
        raise _not_started(command, error.strerror) from error


def _not_started(command: Command, why: str | None) -> ToolMissingError:
    return ToolMissingError(f"{command.argv[0]} cannot be started: {why}", remedy="see `homelab backup doctor`")


@contextmanager
def _input(text: str) -> Iterator[IO[bytes] | int]:
    """What a child reads: a file without a name, so that nobody has to write while others read."""
    if not text:
        yield subprocess.DEVNULL
        return
    with TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file


@cache
def _setpriv() -> str | None:
    """Where setpriv is, if it is one that can ask for a signal."""
    found = shutil.which("setpriv")
    argv = through_setpriv(found, ("echo", "asked"), os.defpath, signal.SIGTERM) if found else None
    if argv is None:
        return None
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=minimal_environment({}), check=False)
    return found if done.stdout == b"asked\n" else None


def read_beside(stream: IO[bytes], handle: LineHandler, *, redact: bool) -> Thread:
    """Read a stream to its end beside us, line by line; for `run` and `core.beside`."""

    def drain() -> None:
        with stream:
            for raw in stream:
                line = raw.decode("utf-8", errors="replace").rstrip("\r\n")
                handle(REDACTOR.mask(line) if redact else line)

    thread = Thread(target=drain, daemon=True)
    thread.start()
    return thread


def _both(first: LineHandler, second: LineHandler | None) -> LineHandler:
    if second is None:
        return first

    def handle(line: str) -> None:
        first(line)
        second(line)

    return handle


def _wait(process: Process, timeout: float, hopeless: Callable[[], bool] | None) -> None:
    if hopeless is None:
        _wait_once(process, timeout)
        return
    started = time.monotonic()
    while (spent := time.monotonic() - started) < timeout:
        with suppress(subprocess.TimeoutExpired):
            _wait_once(process, min(_LOOK_SECONDS, timeout - spent))
            return
        if hopeless():
            break
    raise subprocess.TimeoutExpired(process.args, round(time.monotonic() - started))


def _wait_once(process: Process, timeout: float) -> None:
    """Wait without polling where the system can: `Popen.wait` with a time limit wakes up every 50 ms."""
    if hasattr(os, "pidfd_open"):
        handle = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if not poll.poll(timeout * 1000):
                raise subprocess.TimeoutExpired(process.args, timeout)
        finally:
            os.close(handle)
        # Not collected yet, its id is its own: what it left running in its session ends now.
        _signal_session(process, signal.SIGTERM)
        process.wait()
    else:
        process.wait(timeout=timeout)


def _stop(process: Process, grace: float) -> None:
    """End the process and everything in its session: SIGTERM, a wait, then SIGKILL for what is left of it."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_session(process, number):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace)


def _signal_session(process: Process, number: signal.Signals) -> bool:
    """Signal everything in the session that the process leads; says whether anything is there."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
