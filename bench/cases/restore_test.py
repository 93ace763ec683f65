"""What a restore test of 1 GB costs over bare `restic restore` and the same reading of the repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from bench.measure import Report, Result, Taken, in_turns, middle, run
from bench.site import HOMELAB, Site, make_repositories, make_site, opening, restic, write_random

_GOAL = 1.25
_LARGE, _LARGE_SIZE = 56, 16 << 20
_SMALL, _SMALL_SIZE = 3000, 32 << 10

# Every file of the repository from the disk and not from the page cache, held against its name.
_READ = """\
import hashlib, os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        if len(name) == 64 and "keys" not in folder:
            with open(os.path.join(folder, name), "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if hashlib.file_digest(file, "sha256").hexdigest() != name:
                    sys.exit(f"{name} is damaged")
"""


def measure(room: Path, rounds: int) -> Report:
    site = make_site(room, ["big"])
    data = room / "data" / "big"
    for number in range(_LARGE):
        write_random(data / "large" / f"{number}.bin", _LARGE_SIZE)
    for number in range(_SMALL):
        write_random(data / "small" / str(number % 30) / f"{number}.bin", _SMALL_SIZE)
    make_repositories(site, [site.repository("big")])
    site.homelab("backup", "run", "--all")
    shutil.rmtree(data)  # a restore test reads it no more, and the disk has room for the lab
    key, identity = _newest(site)
    taken = in_turns(
        {
            "homelab backup restore-test": lambda: site.homelab("backup", "restore-test", "--all"),
            "restic restore, then sha256": lambda: _bare(site, identity),
        },
        rounds,
    )
    ours, bare = (middle(runs) for runs in taken.values())
    size = (_LARGE * _LARGE_SIZE + _SMALL * _SMALL_SIZE) / 1e9
    return Report(
        f"restore test of {size:.2f} GB over bare restore and the same reading of the repository",
        f"cold: no restic cache, repository files past the page cache;\nsnapshot {key}: {_LARGE} files of"
        f" {_LARGE_SIZE >> 20} MiB, {_SMALL:,} of {_SMALL_SIZE >> 10} KiB, none compressible;\n"
        f"directories on one disk; {opening(site.repository('big'), site.password)}.",
        taken,
        [Result("ratio", ours / bare, "x", _GOAL), Result("difference", ours - bare, "s")],
    )


def _newest(site: Site) -> tuple[str, str]:
    """Key and id of the snapshot that was just taken."""
    done = subprocess.run([HOMELAB, "backup", "list", "--json"], cwd=site.root, check=True, capture_output=True)
    listed = json.loads(done.stdout)
    return listed[0]["key"], listed[0]["snapshot_id"]


def _bare(site: Site, identity: str) -> Taken:
    env = {"RESTIC_REPOSITORY": str(site.repository("big")), "RESTIC_PASSWORD_FILE": str(site.password)}
    into = site.root / "restored"
    restored = run([restic(), "--no-cache", "restore", identity, "--target", into], env=env)
    read = run([sys.executable, "-c", _READ, site.repository("big")])
    return restored + read + run(["rm", "-rf", into])
