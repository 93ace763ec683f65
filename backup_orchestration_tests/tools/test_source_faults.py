"""Sources that are missing, unreadable or empty: refused by name, nothing stored, nothing left in staging."""

import ctypes
import os
import shlex
import shutil
import sqlite3
from contextlib import closing, contextmanager

import pytest

from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.errors import CommandFailedError, SourceError, SpaceError
from backup_orchestration.operations.backup import Wish, backup

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_VERSION_3 = 0x20080522


@contextmanager
def bound_by_modes():
    """For this thread, also as root: what a file's mode forbids is forbidden."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0
    fewer = (ctypes.c_uint32 * 6)(*held)
    fewer[0] &= ~(1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH)
    assert libc.capset(header, fewer) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


def staged(site):
    return [path for path in (site.root / ".homelab" / "staging").rglob("*") if path.is_file()]


def said(site, caught):
    """For the table; every error here ends a command with 1."""
    assert caught.value.exit_code == 1
    return str(caught.value).replace(str(site.root), "…")


def declared(site, target="app/files", path="data", more=""):
    return site.declare(f'BackupPolicy(target="{target}", source=Files(path=str(HERE / "{path}"){more}))')


def keys(site, target="app/files"):
    return [item.key for item in site.homelab.repository(target).snapshots()]


def test_a_missing_source(kept, matrix):
    before = keys(kept)
    shutil.rmtree(kept.root / "data")
    with pytest.raises(SourceError, match=r"data does not exist") as caught:
        kept.backup()
    matrix("False success", "source missing", "backup", said(kept, caught))
    assert (keys(kept), staged(kept)) == (before, [])


@pytest.mark.parametrize("what", ["data", "data/sub", "data/sub/two.bin"])
def test_an_unreadable_source(kept, what, matrix):
    path = kept.root / what
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with bound_by_modes(), pytest.raises(SourceError, match=f"{what} cannot be read: Permission denied") as caught:
            kept.backup()
    finally:
        path.chmod(mode)
    matrix("False success", f"source unreadable: {what}", "backup", said(kept, caught))
    assert staged(kept) == []


def test_capabilities_are_back_afterwards(tmp_path):
    """The test above must not change what the tests after it can do."""
    (tmp_path / "closed").write_text("x")
    (tmp_path / "closed").chmod(0)
    with bound_by_modes(), pytest.raises(PermissionError):
        (tmp_path / "closed").read_text()
    if os.geteuid() == 0:
        assert (tmp_path / "closed").read_text() == "x"


@pytest.mark.parametrize("content", ["nothing", "directories", "a socket"])
def test_an_emptied_source(kept, content, matrix):
    before = keys(kept)
    shutil.rmtree(kept.root / "data")
    (kept.root / "data").mkdir()
    if content == "directories":
        (kept.root / "data" / "sub" / "deeper").mkdir(parents=True)
    if content == "a socket":
        os.mkfifo(kept.root / "data" / "pipe")
    with pytest.raises(SourceError, match="is empty") as caught:
        kept.backup()
    matrix("False success", f"source empty but for {content}", "backup", said(kept, caught))
    assert (keys(kept), staged(kept)) == (before, [])


def test_a_source_that_its_exclusions_leave_nothing_of(kept, matrix):
    before = keys(kept)
    declared(kept, more=', exclude=("*.txt", "sub", "link")')
    with pytest.raises(SourceError, match="is empty") as caught:
        kept.backup()
    matrix("False success", "exclusions swallow the source", "backup", said(kept, caught))
    assert (keys(kept), staged(kept)) == (before, [])


def test_a_root_that_is_a_link(kept):
    (kept.root / "here").symlink_to("data")
    declared(kept, path="here")
    with pytest.raises(SourceError, match="symbolic link") as caught:
        kept.backup()
    assert str(kept.root / "data") in caught.value.remedy
    assert staged(kept) == []


def test_what_is_excluded_is_neither_stored_nor_missed(kept):
    (kept.root / "data" / "cache").mkdir()
    (kept.root / "data" / "cache" / "x").write_text("x")
    (kept.root / "data" / "sub" / "y.tmp").write_text("y")
    declared(kept, more=', exclude=("*.tmp", "cache")')
    assert kept.backup().counts["files"] == 3  # two files and the manifest
    assert kept.restore_test().passed


def test_names_and_modes_that_break_careless_tools_come_back(kept):
    odd = kept.root / "data" / "odd"
    odd.mkdir()
    names = [b"-rf", b"--force", b"new\nline", b"quo'te\"", b"\xff\xfe not utf-8", "ä".encode(), b" ", b"*", b"$(x)"]
    for name in names:
        path = os.path.join(os.fsencode(odd), name)
        with open(path, "wb") as file:
            file.write(name)
    (odd / "closed").write_text("0000")
    (odd / "run").write_text("#!/bin/sh")
    (odd / "run").chmod(0o755)
    (odd / "dangling").symlink_to("/nowhere/at all")
    (odd / "loop").symlink_to("loop")
    (odd / "void").mkdir(mode=0o500)
    (odd / "nothing").write_bytes(b"")
    kept.backup()
    evidence = kept.restore_test()
    assert evidence.passed, evidence.reason
    assert evidence.counts["links"] == 3


def test_an_incomplete_snapshot_is_discarded(kept, restic, tmp_path_factory, monkeypatch):
    """A file that is closed between the manifest and restic: exit code 3, and a snapshot all the same."""
    closed = shlex.quote(str(kept.root / "data" / "sub" / "two.bin"))
    drop = "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all " if os.geteuid() == 0 else ""
    tools = tmp_path_factory.mktemp("bin")
    (tools / "restic").write_text(
        f'#!/bin/sh\ncase "$*" in *backup*) chmod 0 {closed}; exec {drop}{restic} "$@";; esac\nexec {restic} "$@"\n'
    )
    (tools / "restic").chmod(0o755)
    before = keys(kept)
    location = kept.homelab.repository("app/files").location
    _lock_of_a_dead_process(restic, kept, location)
    with monkeypatch.context() as patch:
        patch.setenv("HOMELAB_TOOLS", str(tools))
        with pytest.raises(SourceError, match=r"two\.bin: .*permission denied") as caught:
            backup(kept.homelab, "app/files", "run", wish=Wish(reread=True))
    assert "still listed" not in str(caught.value)
    assert (keys(kept), staged(kept)) == (before, [])


def _lock_of_a_dead_process(restic, site, location):
    """What a killed restic leaves: it would keep the incomplete snapshot in the list."""
    script = '"$0" --no-cache backup --quiet --stdin <"$1" & sleep 1.5; kill -9 $!; wait; exit 0'
    pipe = site.root / "pipe"
    os.mkfifo(pipe)
    holder = os.open(pipe, os.O_RDWR)
    env = {"RESTIC_REPOSITORY": location, "RESTIC_PASSWORD_FILE": str(site.root / "secrets" / "password")}
    try:
        check(Command(["/bin/sh", "-c", script, str(restic), str(pipe)], 60, env))
    finally:
        os.close(holder)
    assert len(list((site.root / "backups" / "restic-app-files" / "locks").iterdir())) == 1


def test_a_file_system_without_room(kept, monkeypatch):
    """A real small one where it can be mounted; else one that says so."""
    small = kept.root / "small"
    small.mkdir()
    settings = (kept.root / "homelab.toml").read_text()
    (kept.root / "homelab.toml").write_text(settings.replace('location = "backups"', 'location = "small/backups"'))
    with _small_file_system(small, monkeypatch):
        (kept.root / "data" / "large").write_bytes(bytes(100 << 20))
        with pytest.raises(SpaceError) as caught:
            backup(kept.homelab, "app/files", "run", wish=Wish(new_repository=True))
        assert "small" in str(caught.value)
        assert "free" in str(caught.value)
        assert list(small.iterdir()) == []
    assert staged(kept) == []


@contextmanager
def _small_file_system(path, monkeypatch):
    try:
        check(Command(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(path)], 20))
    except CommandFailedError:  # not root, or no mounts in this container
        real = shutil.disk_usage
        usage = type(real("/"))
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda at: usage(48 << 20, 0, 48 << 20))
            yield
        return
    try:
        yield
    finally:
        check(Command(["umount", str(path)], 20))


def test_a_database_beside_others_is_captured_alone(site, start_repository):
    site.declare('BackupPolicy(target="app/db", source=Sqlite(path=str(HERE / "db" / "app.db")))')
    start_repository(site, "app/db")
    (site.root / "db").mkdir()
    with closing(sqlite3.connect(site.root / "db" / "app.db")) as live:
        live.execute("CREATE TABLE t (a)")
        live.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(7)])
        live.commit()
    (site.root / "db" / "secret").write_text("not asked for")
    site.backup("app/db")
    evidence = site.restore_test("app/db")
    assert evidence.passed, evidence.reason
    assert (evidence.counts["rows"], evidence.counts["files"]) == (7, 1)
    assert staged(site) == []
