"""Runs a dump for a backup tool: what it prints goes on, and printing nothing is a failure.

Started by file name, in isolated mode, as the child of the tool; so it imports nothing of the package.
A tool stores what a pipe gives it, also nothing at all; with this in between it gets an exit code for that.
"""

import os
import subprocess
import sys

_CHUNK = 1 << 20
_EMPTY = 65
_HIDDEN = ("RESTIC_", "AWS_", "BORG_")


def main(argv: list[str]) -> int:
    """Run the command, copy its output, and return its exit code, or 65 when there was none."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(_HIDDEN)}
    copied = 0
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env)
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}\n")
        return 127
    with process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while chunk := process.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
            copied += len(chunk)
            _write(chunk)
    if process.returncode == 0 and copied == 0:
        sys.stderr.write(f"{argv[0]} printed nothing\n")
        return _EMPTY
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _write(chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
