"""Where file systems are mounted, as this process sees it (proc(5), `mountinfo`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_MOUNTINFO = Path("/proc/self/mountinfo")
_POINT = 4
_OCTAL = re.compile(rb"\\([0-7]{3})")


def mount_points() -> Sequence[Path]:
    """Every mount point; a bind mount of the same file system too, which has no device of its own.

    Raises:
        OSError: the system does not tell.
    """
    lines = _MOUNTINFO.read_bytes().splitlines()
    return [Path(_decoded(line.split(b" ")[_POINT])) for line in lines]


def _decoded(field: bytes) -> str:
    return _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field).decode("utf-8", "surrogateescape")
