"""Processes that outlive the command that started them, known so that a used-again process id is not mistaken.

A process is named `<boot>/<process id>/<start in ticks since boot>` (proc(5), field 22 of `stat`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
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


def pid_of(name: str) -> int:
    """Its process id."""
    return int(name.split("/")[1])


def stop_sessions(names: Sequence[str], seconds: float) -> None:
    """End processes that lead a session of their own, with everything in it: SIGTERM, a wait, SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        leaders = [pid_of(name) for name in names if name]
        for pid in leaders:
            try:
                os.killpg(pid, number)
            except (ProcessLookupError, PermissionError):
                continue
        deadline = time.monotonic() + seconds
        while any(_session_lives(pid) for pid in leaders) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def _session_lives(leader: int) -> bool:
    """Whether any process of this session is left; the leader may be gone before its children."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _fields(int(entry.name))
            if fields and fields[0] not in "ZX" and fields[3] == str(leader):
                return True
    return False


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
