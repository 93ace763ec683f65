"""Whom a program runs as, and what it can reach: arguments for starting it, no more."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backup_orchestration.core import confined as confining

_NOT_ROOT = 1000
_NOBODY = 65534  # in a user namespace, the owner of what belongs to nobody in it


def within(argv: Sequence[str], user: int | None, *, cut_off: bool, writes: Sequence[Path] | None) -> list[str]:
    """The argument list, with what confines the program before it; see `core.commands.Command`."""
    confined = list(argv)
    if writes is not None:
        confined = [sys.executable, "-I", confining.__file__, *map(str, writes), "--", *confined]
    # unshare(1), of util-linux.
    if user == 0 and os.geteuid() == 0:
        number, group = _somebody()
        users = [f"--map-user={number}", f"--map-group={group}"]
    elif cut_off:
        users = ["--map-current-user"]
    else:
        return confined
    return ["unshare", "--user", *users, *(["--net"] if cut_off else []), "--", *confined]


def identity(user: int | None) -> dict[str, Any]:
    """Arguments of Popen that make the child somebody else; refused by the system for anyone but root."""
    if user in (None, os.geteuid()):
        return {}
    account = pwd.getpwuid(user or 0)
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {"user": user, "group": account.pw_gid, "extra_groups": groups}


def _somebody() -> tuple[int, int]:
    """User and group of this machine's, not root, as whom root is seen: `initdb` insists that its user has a name."""
    try:
        account = pwd.getpwuid(_NOT_ROOT)
    except KeyError:
        named = (item for item in pwd.getpwall() if 0 < item.pw_uid < _NOBODY and item.pw_gid)
        if (first := next(named, None)) is None:
            return _NOT_ROOT, _NOT_ROOT
        account = first
    return account.pw_uid, account.pw_gid
