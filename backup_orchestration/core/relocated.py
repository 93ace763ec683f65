"""A restored PostgreSQL cluster that stands elsewhere than where it was restored to: what names its place is rewritten.

Three things do: the `restore_command` by which recovery reads WAL from beside the data, the links to tablespaces, and
`tablespace_map`, from which a server makes those links anew.
"""

from __future__ import annotations

import os
from pathlib import Path

from backup_orchestration.core.postgres import PGDATA


def readdress(root: Path, before: Path, after: Path) -> None:
    """Rewrite every path below `before` that the cluster names to the same path below `after`.

    Args:
        root: where the cluster stands now, with its data directory at `root/pgdata`.
        before: where it was restored to.
        after: where it will stand.

    Raises:
        OSError: it cannot be written.
    """
    data = root / PGDATA
    for name in ("postgresql.auto.conf", "tablespace_map"):
        path = data / name
        if path.is_file() and not path.is_symlink():
            text = path.read_bytes()
            path.write_bytes(text.replace(os.fsencode(f"{before}/"), os.fsencode(f"{after}/")))
    for link in (data / "pg_tblspc").glob("*"):
        if link.is_symlink() and Path(os.readlink(link)).is_relative_to(before):
            there = after / Path(os.readlink(link)).relative_to(before)
            owner = link.lstat()
            link.unlink()
            link.symlink_to(there)
            os.chown(link, owner.st_uid, owner.st_gid, follow_symlinks=False)
