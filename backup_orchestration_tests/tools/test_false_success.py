"""What must not pass for a backup although every tool ends well, and stores in directories that fail half-way.

The others are in `test_source_faults.py`, `test_dumps.py`, `test_repositories.py` and `test_store_faults.py`.
"""

import errno
import os
import re
import shlex
import shutil
import sys
from datetime import UTC, datetime, timedelta

import pytest

from backup_orchestration.core.errors import (
    HomelabError,
    RepositoryVanishedError,
    SourceError,
    StoreError,
    UnknownSnapshotError,
)
from backup_orchestration.core.status import Protection
from backup_orchestration.providers import _witness

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


@pytest.fixture
def meanwhile(restic, tmp_path_factory, monkeypatch):
    """Have something happen after the source was looked at, right before restic stores it."""

    def happens(shell):
        tools = tmp_path_factory.mktemp("bin")
        (tools / "restic").write_text(
            f'#!/bin/sh\ncase "$*" in *"backup --json"*) {shell};; esac\nexec {restic} "$@"\n'
        )
        (tools / "restic").chmod(0o755)
        monkeypatch.setenv("HOMELAB_TOOLS", str(tools))

    return happens


def keys(site, target="app/files"):
    return [item.key for item in site.homelab.repository(target).snapshots()]


def records(site, target="app/files"):
    return site.homelab.evidence().ledger(target, "default").records


def plain(site, error):
    said = re.sub(r"[0-9a-f]{10,}", "…", str(error).replace(str(site.root), "…"))
    return said if len(said) < 170 else f"{said[:80]} … {said[-80:]}"


def is_well(site):
    site.backup()
    evidence = site.restore_test()
    assert evidence.passed, evidence.reason
    assert site.judge().protection is Protection.FRESH


@pytest.mark.parametrize("how", ["removed", "emptied", "unmounted"])
def test_a_source_that_vanishes_after_it_was_looked_at(kept, meanwhile, matrix, how):
    """restic before 0.19 then stores the manifest alone and ends with exit code 0."""
    data, away = kept.root / "data", kept.root / "away"
    shell = {
        "removed": f"rm -r {shlex.quote(str(data))}",
        "emptied": f"find {shlex.quote(str(data))} -mindepth 1 -delete",
        "unmounted": f"mv {shlex.quote(str(data))} {shlex.quote(str(away))}; mkdir {shlex.quote(str(data))}",
    }
    shutil.copytree(data, kept.root / "copy", symlinks=True)
    before, tested = keys(kept), records(kept)
    meanwhile(shell[how])
    with pytest.raises(SourceError, match=r"data.*vanished") as caught:
        kept.backup()
    assert caught.value.exit_code == 1
    matrix("False success", f"source {how} mid-run", "backup", plain(kept, caught.value))
    assert (keys(kept), records(kept)) == (before, tested)
    meanwhile(":")
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(kept.root / "copy", data, symlinks=True)
    is_well(kept)


def test_a_directory_that_is_unmounted_mid_run_does_not_pass_its_restore_test(kept, meanwhile, matrix):
    """What was below it is missing, and its times say that nobody removed it meanwhile."""
    sub, away = kept.root / "data" / "sub", kept.root / "away"
    empty = kept.root / "empty"
    empty.mkdir()
    for directory in (empty, sub):
        os.utime(directory, (1_000_000_000, 1_000_000_000))
    parent = kept.root / "data"
    times = parent.stat()
    meanwhile(
        f"mv {shlex.quote(str(sub))} {shlex.quote(str(away))}; cp -a {shlex.quote(str(empty))} {shlex.quote(str(sub))};"
        f" touch -d @{times.st_mtime:.0f} {shlex.quote(str(parent))}"
    )
    kept.backup()
    evidence = kept.restore_test()
    assert not evidence.passed
    assert re.search(r"files: .*two\.bin", evidence.reason)
    matrix("False success", "directory unmounted mid-run", "restore test", plain(kept, evidence.reason))
    assert kept.judge().protection is Protection.SUSPECT
    meanwhile(":")
    shutil.rmtree(sub)
    away.rename(sub)
    is_well(kept)


def test_a_clock_that_was_set_back(kept, matrix):
    """The snapshot is found by its run, not as the newest, and what is dated ahead protects nobody."""
    before = keys(kept)
    real = datetime.now(UTC)
    kept.clock = lambda: real - timedelta(days=30)
    snapshot = kept.backup()
    assert snapshot.taken_at < real - timedelta(days=29)
    assert keys(kept) == [snapshot.key, *before]
    found = kept.judge()
    assert (found.protection, found.recovery_point) == (Protection.NEVER, None)
    matrix("False success", "clock set back", "status", plain(kept, found.reason))
    assert kept.restore_test(key=snapshot.key).passed
    assert kept.judge().recovery_point.key == snapshot.key
    kept.clock = None
    assert kept.judge().recovery_point.key == before[0]  # the right one, by the date of its data
    is_well(kept)


def test_a_directory_that_goes_away_in_the_middle_of_a_backup(site, start_repository, matrix):
    """A dump that takes its own store away: restic makes the folders anew below, stores the rest, and ends well."""
    backups, away = site.root / "backups", site.root / "away"
    code = f"import os, sys; print('x' * 9_000_000, flush=True); os.rename({str(backups)!r}, {str(away)!r})" + (
        "; sys.stdout.buffer.write(os.urandom(40_000_000))"
    )
    source = f'Dump(command={(sys.executable, "-c", code)!r}, filename="app.sql")'
    start_repository(site.declare(f'BackupPolicy(target="app/dump", source={source})'), "app/dump")
    with pytest.raises(HomelabError, match=r"backups/restic-app-dump") as caught:
        site.backup("app/dump")
    assert caught.value.exit_code == 1
    matrix("False success", "store gone half-way", "directory, backup", plain(site, caught.value))
    shutil.rmtree(backups, ignore_errors=True)
    away.rename(backups)
    assert keys(site, "app/dump") == []
    site.declare('BackupPolicy(target="app/dump", source=Dump(command=("echo", "all"), filename="app.sql"))')
    site.backup("app/dump")
    assert site.restore_test("app/dump").passed


def after_the_first_file(monkeypatch, action):
    """Have something happen to the repository once a restore test has read the first of its packs."""
    read_whole, packs = _witness._read_whole, []

    def read(file, identity):
        if "/data/" in str(getattr(file, "name", "")):
            packs.append(identity)
            if len(packs) > 1:
                action(file)
        return read_whole(file, identity)

    monkeypatch.setattr(_witness, "_read_whole", read)


def test_a_directory_that_goes_away_in_the_middle_of_a_restore_test(kept, monkeypatch, matrix):
    """All the rest is missing then, and none of it is damaged."""
    backups, away = kept.root / "backups", kept.root / "away"
    tested = records(kept)

    def unmounted(file):
        if backups.exists():
            backups.rename(away)
        raise OSError(errno.EIO, "Input/output error")

    key = keys(kept)[-1]
    with monkeypatch.context() as patch:
        after_the_first_file(patch, unmounted)
        with pytest.raises(StoreError, match=r"backups/restic-app-files.*went away") as caught:
            kept.restore_test(key=key)
    matrix("False success", "store gone half-way", "directory, restore test", plain(kept, caught.value))
    away.rename(backups)
    assert records(kept) == tested
    assert kept.judge().protection is Protection.FRESH
    is_well(kept)


def test_a_bad_sector_is_damage(kept, monkeypatch):
    """The rest of the store is there and can be read."""

    def bad(_file):
        raise OSError(errno.EIO, "Input/output error")

    after_the_first_file(monkeypatch, bad)
    evidence = kept.restore_test()
    assert not evidence.passed
    assert re.match(r"restore: damaged or missing in the repository: data/", evidence.reason)


def test_a_snapshot_that_is_forgotten_before_it_is_read_is_no_failure(kept, monkeypatch, matrix):
    """Between the list and the restore: it is gone as if it had been gone before."""
    tested = records(kept)
    kept.backup()
    second = kept.homelab.repository("app/files").latest()
    path = kept.root / "backups" / "restic-app-files" / "snapshots" / second.snapshot_id
    real = _witness.witness

    def forgotten(*arguments):
        path.unlink()
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("backup_orchestration.providers.restic.witness", forgotten)
        with pytest.raises(UnknownSnapshotError, match=second.key) as caught:
            kept.restore_test(key=second.key)
    matrix("False success", "snapshot forgotten meanwhile", "restore test", plain(kept, caught.value))
    assert records(kept) == tested
    is_well(kept)


def test_a_store_of_a_directory_that_is_not_mounted(kept, matrix):
    """The whole place is away: neither a new repository nor an empty list that looks like an answer."""
    (kept.root / "backups").rename(kept.root / "away")
    (kept.root / "backups").mkdir()
    with pytest.raises(RepositoryVanishedError, match=r"backups/restic-app-files") as caught:
        kept.backup()
    matrix("False success", "store not mounted", "directory, backup", plain(kept, caught.value))
    assert list((kept.root / "backups").iterdir()) == []
    (kept.root / "backups").rmdir()
    (kept.root / "away").rename(kept.root / "backups")
    is_well(kept)
