"""Disks that are too small, for everybody: a small tmpfs in a mount namespace of its own, which needs no root."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from kills import MEGABYTE, begin, copy_site, files_of, fill, left


class SmallDisk:
    """A file system of so many megabytes in the place of a site's directory, seen by commands that are run in it."""

    def __init__(self, site, directory, megabytes):
        self.site, self.directory = site, directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        script = (
            'cp -a "$0" "$0.before" && mount -t tmpfs -o size=$1m,mode=700 none "$0" && cp -a "$0.before/." "$0"'
            ' && rm -r "$0.before" && echo ready && exec sleep 900'
        )
        argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(directory), str(megabytes)]
        self._holder = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._holder.stdout.readline() == "ready\n", self._holder.stderr.read()
        enter = ["nsenter", "--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials"]
        # As root only to mount: the commands are whoever we are.
        as_we_are = ["unshare", "--user", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}"]
        self._prefix = [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(site.root), *as_we_are]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._holder.kill()
        self._holder.communicate()

    @property
    def seen(self):
        """The site as it is with the disk in its place; to look at, not to work in."""
        return type(self.site)(Path(f"/proc/{self._holder.pid}/root{self.site.root}"))

    def homelab(self, *arguments):
        """Run a command; returns its exit code and what it said."""
        command = begin(self.site, *arguments, prefix=self._prefix)
        code = command.end()
        return code, command.said()

    def json(self, *arguments):
        return json.loads(self.homelab(*arguments, "--json")[1])

    def occupy(self):
        """Fill it up."""
        with (self._place / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(self._place).free)

    def move(self):
        """Move what is on it to the larger disk of the test itself."""
        (self._place / "filler").unlink(missing_ok=True)
        aside = self.directory.with_name("aside")
        shutil.copytree(self._place, aside, symlinks=True)
        shutil.rmtree(self.directory)
        aside.rename(self.directory)

    @property
    def _place(self):
        return Path(f"/proc/{self._holder.pid}/root{self.directory}")


def staging_is_full(site):
    """The manifest finds no room."""
    disk = SmallDisk(site, site.root / ".homelab" / "staging", 1)
    disk.occupy()
    return disk, "run", "{root}/.homelab/staging/app-files is full"


def staging_fills_up(site):
    """A database of which most is still in its write-ahead log: its file is small, the copy is not."""
    path = site.root / "app.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (randomblob(?))", (60 * MEGABYTE,))
        database.commit()
        for suffix in ("", "-wal", "-shm"):  # the last one who closes it would move the log into the file
            shutil.copy(f"{path}{suffix}", site.root / f"live.db{suffix}")
    site.declare(f'BackupPolicy(target="app/files", source=Sqlite(path="{site.root}/live.db"))')
    return SmallDisk(site, site.root / ".homelab" / "staging", 50), "run", "{root}/.homelab/staging/app-files is full"


def lab_is_too_small(site):
    disk = SmallDisk(site, site.root / ".homelab" / "labs", 20)
    return disk, "restore-test", "restoring {newest} needs "


def lab_fills_up(site):
    """Many small files: what they need of a disk is more than what they hold."""
    many = site.root / "many"
    for number in range(12000):
        (many / str(number % 50)).mkdir(parents=True, exist_ok=True)
        (many / str(number % 50) / str(number)).write_text(str(number))
    site.declare(files_of(many))
    site.backup()
    return SmallDisk(site, site.root / ".homelab" / "labs", 36), "restore-test", "/data is full"


def store_is_full(site):
    disk = SmallDisk(site, site.root / "backups", 40)
    disk.occupy()
    expected = "a backup of app/files needs 0 bytes, and 33,554,432 to spare, and {root}/backups/restic-app-files has 0"
    return disk, "run", expected


def store_fills_up(site):
    fill(site.root / "large", 64)
    site.declare(files_of(site.root / "large"))
    return SmallDisk(site, site.root / "backups", 50), "run", "{root}/backups/restic-app-files is full"


def store_has_no_room_for_a_lock(site):
    """A restore test writes one, so that nobody prunes meanwhile."""
    disk = SmallDisk(site, site.root / "backups", 20)
    disk.occupy()
    return disk, "restore-test", "{root}/backups/restic-app-files/locks/"


CASES = (
    staging_is_full,
    staging_fills_up,
    lab_is_too_small,
    lab_fills_up,
    store_is_full,
    store_fills_up,
    store_has_no_room_for_a_lock,
)


def look(case, template, tmp_path, home, matrix):
    """Run into a full disk; what was there counts as before, nothing lies about, and with more room it works."""
    site = copy_site(template, tmp_path, home)
    disk, verb, text = case(site)
    with disk:
        before = disk.json("list")
        code, said = disk.homelab(verb, "--all")
        assert code == 1, said
        expected = text.format(root=site.root, newest=before[0]["key"])
        assert "app/files: failed: " in said and expected in said, said
        assert "defect" not in said and "Traceback" not in said
        found = left(disk.seen)
        # A restic that does not end by itself and is killed leaves its lock, which the next command takes away.
        assert set(found) <= ({"lock"} if case is store_fills_up else set()), found
        assert disk.json("list") == before
        disk.move()
    assert json.loads(site.cli("backup", "list", "--json").stdout) == before
    done = site.cli("backup", verb, "--all")
    assert done.returncode == 0, done.stderr
    assert not left(site)
    site.declare(files_of(site.root / "data"))  # as it was when the oldest was taken
    old = before[-1]["key"]
    done = site.cli("backup", "restore-test", "--target", "files", "--snapshot", old)
    assert done.returncode == 0 and f"{old}: restore test passed" in done.stdout, done.stderr
    matrix("Full disk", verb, case.__name__.replace("_", " "), expected.replace(str(site.root), "…"))
