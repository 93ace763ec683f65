"""Children that end when we are killed, so that nothing writes on without us: prctl(2), PR_SET_PDEATHSIG.

The child itself has to ask for it. setpriv(1), of util-linux 2.33 and newer, does, and then becomes the program: two
milliseconds. Where it is not to be had, Python asks between fork and exec; for that the kernel copies the page tables
of this process, which after the import of Dagster takes longer than many a program that is run.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_PROGRAMS = (b"\x7fELF", b"#!")
_CANNOT_START = (126, 127)  # as shells say it: it is no program, or not there
_WHY = re.compile(r"setpriv: failed to execute .*: (.+)")


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """In a child: ask the kernel for a signal when our parent is killed.

    The signal follows the thread that started the child: commands are run from threads that wait for them.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def through_setpriv(setpriv: str, argv: Sequence[str], path: str, number: signal.Signals) -> list[str] | None:
    """The argument list that has setpriv ask; None where the program cannot be started, which only Popen can tell well.

    setpriv gives what is no program to a shell (execvp(3)), which ends with 0 after a file of zeros.

    Args:
        setpriv: where it is.
        argv: of the program.
        path: PATH of the child.
        number: signal that the program gets when we are killed.
    """
    found = shutil.which(argv[0], path=path)
    if found is None or not _is_program(found):
        return None
    return [setpriv, "--pdeathsig", number.name.removeprefix("SIG"), "--", *argv]


def _is_program(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(4).startswith(_PROGRAMS)
    except OSError:
        return False


def why_not_started(returncode: int, stderr: Sequence[str]) -> str | None:
    """What kept setpriv from becoming the program; None if nothing did, so that the exit code is the program's."""
    found = _WHY.fullmatch(stderr[-1]) if stderr and returncode in _CANNOT_START else None
    return found[1] if found else None
