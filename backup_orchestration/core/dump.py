"""Runs a dump for a backup tool: what it prints goes on, and printing nothing is a failure.

Started by file name, in isolated mode, as the child of the tool; so it imports nothing of the package.
A tool stores what a pipe gives it, also nothing at all; with this in between it gets an exit code for that.
The dump ends with us and with the tool, also when either is killed while the dump prints nothing.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

_CHUNK = 1 << 20
_EMPTY = 65
_UNREAD = 141  # as a shell says of SIGPIPE
_HIDDEN = ("RESTIC_", "AWS_", "BORG_")
_GRACE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def main(argv: list[str]) -> int:
    """Run the command, copy its output, and return its exit code, or 65 when there was none."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(_HIDDEN)}
    copied = 0
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env, preexec_fn=_end_with_parent
        )
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}\n")
        return 127
    with process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while _wait(process.stdout.fileno()):
            chunk = os.read(process.stdout.fileno(), _CHUNK)
            if not chunk:
                break
            copied += len(chunk)
            _write(chunk)
        else:
            return _stop(process)
    if process.returncode == 0 and copied == 0:
        sys.stderr.write(f"{argv[0]} printed nothing\n")
        return _EMPTY
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(dump: int) -> bool:
    """Wait until the dump has printed or ended: True. False when nobody reads what we print any more."""
    poll = select.poll()
    poll.register(dump, select.POLLIN)
    poll.register(1, 0)  # errors are told unasked
    return all(handle == dump for handle, _ in poll.poll())


def _stop(process: "subprocess.Popen[bytes]") -> int:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    return _UNREAD


def _write(chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
