"""Processes that outlive the command that started them, known so that a used-again process id is not mistaken.

A process is named `<boot>/<process id>/<start in ticks since boot>` (proc(5), field 22 of `stat`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_POLL_SECONDS = 0.05


def name_of(pid: int) -> str:
    """What names this process for ever; empty when it is gone."""
    start = _start_of(pid)
    return f"{_boot()}/{pid}/{start}" if start else ""


def is_alive(name: str) -> bool:
    """Whether the process with this name still runs."""
    boot, pid, start = [*name.split("/"), "", "", ""][:3]
    return pid.isdigit() and boot == _boot() and _start_of(int(pid)) == start


def program_of(pid: int) -> str:
    """Name of the program that runs as this process, cut to 15 characters; empty when it is gone."""
    if not _start_of(pid):
        return ""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def users_of(root: Path) -> list[tuple[int, str]]:
    """Process id and program of everybody else who works in a tree, or has a file of it open, as far as it is told us.

    A process in a container may call the tree by another path and is not found then.
    """
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is another user's
            if entry.name.isdigit() and int(entry.name) != os.getpid() and _uses(entry, root):
                found.append((int(entry.name), program_of(int(entry.name))))
    return sorted(found)


def working_in(directory: Path) -> list[int]:
    """Process ids of those whose working directory this is, by whatever path they call it."""
    status = directory.stat()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                there = (entry / "cwd").stat()
                if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                    found.append(int(entry.name))
    return sorted(found)


def pid_of(name: str) -> int:
    """Its process id."""
    return int(name.split("/")[1])


def stop_sessions(names: Sequence[str], seconds: float) -> None:
    """End processes that lead a session of their own, with everything in it: SIGTERM, a wait, SIGKILL."""
    end_sessions([pid_of(name) for name in names if name], seconds)


def end_sessions(leaders: Iterable[int], seconds: float) -> None:
    """As `stop_sessions`, for leaders that nobody has collected yet: their process ids are theirs."""
    sessions = set(leaders)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + seconds
        sent: set[int] = set()
        while (members := _members(sessions)) and time.monotonic() < deadline:
            for pid in set(members) - sent:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            sent.update(members)
            time.sleep(_POLL_SECONDS)


def kill_inside(directory: Path, seconds: float) -> None:
    """Kill what works inside a directory, in whatever session: a server's children lead sessions of their own.

    Processes of other users are let be; they could not have been started here.
    """
    directory, deadline = directory.resolve(), time.monotonic() + seconds
    while (found := _inside(directory)) and time.monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _inside(directory: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        # Who may not look may not kill either; and who has just ended has no directory any more.
        with suppress(OSError):
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")).is_relative_to(directory):
                found.append(int(entry.name))
    return found


def _uses(process: Path, root: Path) -> bool:
    if Path(os.readlink(process / "cwd")).is_relative_to(root):
        return True
    for handle in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            if Path(os.readlink(handle)).is_relative_to(root):
                return True
    return False


def _members(leaders: AbstractSet[int]) -> list[int]:
    """Every process of these sessions; a leader may be gone before its children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _fields(int(entry.name))
            if fields and fields[0] not in "ZX" and int(fields[3]) in leaders:
                found.append(int(entry.name))
    return found


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()


def _start_of(pid: int) -> str:
    """Field 22; empty for a process that is gone or only waits to be collected."""
    fields = _fields(pid)
    return "" if not fields or fields[0] in "ZX" else fields[19]


def _fields(pid: int) -> list[str]:
    """Fields of `stat` from the third on, the state."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The second field is the program's name in brackets and may hold anything.
    return text.rpartition(")")[2].split()
