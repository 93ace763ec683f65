"""Restores with the real restic: each kind of source comes back as it was, and a damaged repository gives nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from backup_orchestration.core import manifest
from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.errors import RestoreFailedError
from backup_orchestration.operations.restore import restore
from backup_orchestration.operations.restore_plan import Wanted, plan_restore
from backup_orchestration_tests.mirrors import MirrorSite, odd_objects

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

TARGET = "app/files"


def restored(site, to=None, target=TARGET, **wanted):
    snapshot = site.homelab.repository(target).latest()
    plan = plan_restore(site.homelab, target, Wanted(key=snapshot.key, to=to, **wanted))
    done = restore(site.homelab, plan)
    assert done.passed, done.reason
    assert done.report.bytes_read > 0
    assert list((site.homelab.home / "labs").iterdir()) == []
    return done


def entries(root):
    """What a manifest says of a tree, with paths from its root on."""
    found = manifest.scan(root, lambda _path: False)
    return [(item.path.removeprefix(str(root)), item.kind, item.mode, item.digest) for item in found]


def way_back(done, site):
    """Do what the steps say."""
    check(Command(["sh", "-ec", "\n".join(done.plan.way.steps)], 60, cwd=site.root))


def test_files_come_back(kept):
    (odd,) = [kept.root / "data" / os.fsdecode(b"caf\xe9 \x1b[31m\n 'x'")]
    odd.write_text("odd")
    odd.chmod(0o640)
    kept.backup()
    done = restored(kept, kept.root / "there")
    (path,) = done.plan.way.places.values()
    before = entries(kept.root / "data")
    (tested,) = kept.homelab.evidence().ledger(TARGET, "default").records
    assert done.plan.last_bytes == tested.probes[0].counts["bytes"] != tested.counts["bytes"]
    assert entries(kept.root / "there" / path.removeprefix(f"{kept.root / 'there'}/")) == before
    odd.unlink()
    way_back(done, kept)
    assert entries(kept.root / "data") == before


def test_files_come_back_in_place_with_links_modes_and_attributes(kept):
    data = kept.root / "data"
    settings = kept.root / "homelab.toml"
    settings.write_text('restore_roots = ["."]\n' + settings.read_text())
    os.link(data / "one.txt", data / "sub" / "same.txt")
    (data / "sub").chmod(0o2710)
    os.setxattr(data / "one.txt", "user.note", b"kept")
    os.utime(data / "sub" / "two.bin", ns=(1_000_000_000, 1_234_567_891_000_000_000))
    kept.backup()
    before, status = entries(data), data.stat()
    (data / "one.txt").write_text("spoilt")
    (data / "sub" / "two.bin").unlink()
    spoilt = entries(data)
    done = restored(kept, in_place=True)
    assert entries(data) == before and entries(done.kept / "data") == spoilt
    assert (data / "one.txt").stat().st_ino == (data / "sub" / "same.txt").stat().st_ino
    assert os.getxattr(data / "one.txt", "user.note") == b"kept"
    assert (data / "sub" / "two.bin").stat().st_mtime_ns == 1_234_567_891_000_000_000
    now = data.stat()
    assert (now.st_uid, now.st_gid, now.st_mode) == (status.st_uid, status.st_gid, status.st_mode)
    assert sorted(path.name for path in kept.root.glob("data?*")) == [done.kept.name]


def test_a_damaged_repository_replaces_nothing(kept):
    settings = kept.root / "homelab.toml"
    settings.write_text('restore_roots = ["."]\n' + settings.read_text())
    kept.backup()
    before, number = entries(kept.root / "data"), (kept.root / "data").stat().st_ino
    for pack in kept.packs():
        pack.unlink()
    with pytest.raises(RestoreFailedError, match="damaged or missing in the repository"):
        restored(kept, in_place=True)
    assert entries(kept.root / "data") == before and (kept.root / "data").stat().st_ino == number
    assert not list(kept.root.glob("data?*"))


def test_a_database_comes_back(site, start_repository):
    with closing(sqlite3.connect(site.root / "app.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE orders AS SELECT 1 AS id, 'tea' AS what")
        database.commit()
        site.declare('BackupPolicy(target="app/files", source=Sqlite(path=str(HERE / "app.db")))')
        start_repository(site, TARGET)
        site.backup()
        done = restored(site)
    assert [item.name for item in done.probes] == ["files", "sqlite"]
    way_back(done, site)
    with closing(sqlite3.connect(site.root / "app.db")) as database:
        assert database.execute("SELECT * FROM orders").fetchall() == [(1, "tea")]
    assert (site.root / "app.db.before").exists()


def test_what_a_command_has_printed_comes_back(site, start_repository):
    site.declare('BackupPolicy(target="app/files", source=Dump(command=["printf", "one two"], filename="dump.txt"))')
    start_repository(site, TARGET)
    site.backup()
    done = restored(site)
    assert dict(done.plan.way.places) == {"what printf one two has given": f"{done.plan.place}/dump.txt"}
    assert (done.plan.place / "dump.txt").read_text() == "one two"


def test_what_a_command_has_written_comes_back(site, start_repository):
    command = ["sh", "-c", "mkdir sub; echo one >sub/one; echo two >two"]
    site.declare(f'BackupPolicy(target="app/files", source=Export(command={command!r}))')
    start_repository(site, TARGET)
    site.backup()
    done = restored(site)
    (path,) = done.plan.way.places.values()
    found = {item[0]: item[1] for item in entries(done.plan.place / path.removeprefix(f"{done.plan.place}/"))}
    assert found == {"": "dir", "/sub": "dir", "/sub/one": "file", "/two": "file"}


def test_a_bucket_comes_back(tmp_path, moto, small_parts):
    mirror = MirrorSite(tmp_path, moto.url)
    odd_objects(mirror)
    snapshot = mirror.backup()
    done = restored(mirror)
    held = mirror.everything(mirror.client, mirror.source)
    place = done.plan.place
    assert sum(path.is_file() for path in (place / "objects").rglob("*")) == len(held) == snapshot.counts["objects"]
    assert [item.name for item in done.probes] == ["objects"]
    assert dict(done.plan.way.places) == {mirror.homelab.policy(TARGET).source.summary: f"{place}/objects"}


@pytest.mark.parametrize("harm", ["flipped", "missing"])
def test_a_damaged_repository_gives_nothing(kept, harm):
    largest = max(kept.packs(), key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    if harm == "missing":
        largest.unlink()
    else:
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(data)
    place = kept.root / "there"
    with pytest.raises(RestoreFailedError, match=f"damaged or missing in the repository: data/{largest.name}"):
        restored(kept, place)
    assert not place.exists() and not list(kept.root.glob("there.partial-*"))


def test_no_secret_is_told(kept, capsys, caplog):
    """In the plan, its commands, the result, and what was written down of it."""
    done = restored(kept, kept.root / "there")
    told = f"{done!r}{capsys.readouterr()}{caplog.text}"
    for name in ("password", "evidence-key"):
        assert (kept.root / "secrets" / name).read_text().strip() not in told
    assert f"RESTIC_PASSWORD_FILE={kept.root}/secrets/password" in told
