"""`homelab backup restore --in-place` with the fake provider: what is kept, what is put back, what is told."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from fakes import behave, damage, make_fake, policy

from backup_orchestration.cli.restore import result_lines
from backup_orchestration.core import replaced
from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.errors import HomelabError, RepositoryLockedError, StateError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.operations import restore_over as over
from backup_orchestration.operations.restore import restore
from backup_orchestration.operations.restore_plan import Wanted, plan_restore

TARGET = "app/files"
RESTORE = ("backup", "restore", "--target", TARGET)
IN_PLACE = (*RESTORE, "--in-place")


@pytest.fixture
def proven(fake):
    """A site with a verified snapshot, whose source was spoilt after it."""
    settings = fake.root / "homelab.toml"
    settings.write_text('restore_roots = ["."]\n' + settings.read_text())
    fake.snapshot = fake.backup()
    assert fake.restore_test().passed
    fake.good = tree(fake.root / "data")
    (fake.root / "data" / "one.txt").write_text("spoilt\n")
    (fake.root / "data" / "sub").chmod(0o711)
    (fake.root / "data" / "new.txt").write_text("newer than the snapshot\n")
    fake.spoilt = tree(fake.root / "data")
    return fake


def tree(root):
    """Everything below a directory, and it."""
    return [
        (str(path.relative_to(root)), path.lstat().st_mode, path.lstat().st_mtime_ns)
        + ((path.read_bytes(),) if path.is_file() else ())
        for path in (root, *sorted(root.rglob("*")))
    ]


def plan(site, **wanted):
    return plan_restore(site.homelab, TARGET, Wanted(in_place=True, **wanted))


def beside(site):
    return sorted(path.name for path in site.root.glob("data?*"))


def killed_between(site):
    """As a process leaves it that is killed when the old data is away and the new is not there yet."""
    root = site.root / f"data.before-{site.snapshot.key}-20261125T110000Z"
    root.mkdir()
    (root / "homelab-replacing.json").write_text('{"new": 1}')
    (site.root / "data").rename(root / "data")
    partial = site.root / f"data.partial-{'0' * 16}"
    partial.mkdir()
    (partial / "homelab-partial").touch()


def test_the_plan_tells_the_word_and_touches_nothing(proven, say):
    said = say(*IN_PLACE, "--plan")
    place, key = proven.root / "data", proven.snapshot.key
    assert said.code == 0
    assert f"plan: restore {TARGET}@{key}\n" in said.out
    assert f"to         {place}, where there is 4 entries; IT IS REPLACED\n" in said.out
    assert f"keeps      what is there, in {place}.before-{key}-…, until you remove it\n" in said.out
    told = say(*IN_PLACE, "--plan", "--json").json["plan"]
    assert (told["in_place"], told["to"], told["word"]) == (True, str(place), f"{TARGET}@{key}")
    assert tree(place) == proven.spoilt and not beside(proven)


@pytest.mark.parametrize("word", [None, "", "yes", TARGET, f"{TARGET}@20200101T000000Z-deadbeef"])
def test_without_the_word_nothing_is_replaced(proven, say, word):
    said = say(*IN_PLACE, *(() if word is None else ("--confirm", word)))
    assert said.code == 2 and f"{TARGET}@{proven.snapshot.key}" in said.err
    assert tree(proven.root / "data") == proven.spoilt and not beside(proven)


def test_what_was_there_is_kept_and_comes_back_as_it_is_written(proven):
    place = proven.root / "data"
    done = proven.cli(*IN_PLACE, "--confirm", f"{TARGET}@{proven.snapshot.key}")
    assert done.returncode == 0, done.stderr
    assert tree(place) == proven.good
    (name,) = beside(proven)
    kept = proven.root / name
    assert name.startswith(f"data.before-{proven.snapshot.key}-") and kept.stat().st_mode & 0o777 == 0o700
    assert tree(kept / "data") == proven.spoilt
    lines = done.stdout.splitlines()
    assert f"replaced {place}" in lines
    assert f"  what was there before is {kept}/data; nobody removes it but you:" in lines
    back = lines[lines.index("  to have it back, stop what writes there, then:") + 1]
    check(Command(["sh", "-ec", back], 60))
    assert tree(place) == proven.spoilt and tree(proven.root / "data.restored") == proven.good


def test_a_probe_that_fails_leaves_the_old_data_byte_for_byte(proven):
    damage(proven, proven.snapshot)
    place, before = proven.root / "data", (proven.root / "data").stat()
    done = proven.cli(*IN_PLACE, "--confirm", f"{TARGET}@{proven.snapshot.key}", "--json")
    told = json.loads(done.stdout)["restored"]
    assert done.returncode == 1 and (told["passed"], told["replaced"], told["kept"]) == (False, False, None)
    assert told["reason"].startswith("files: ") and told["seconds"] > 0 and told["put_back"] == []
    after = place.stat()
    assert tree(place) == proven.spoilt and not beside(proven)
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_probes_that_cannot_be_carried_out_replace_nothing(proven, monkeypatch):
    def full(*_arguments):
        raise HomelabError("no room")

    monkeypatch.setattr("backup_orchestration.operations.restoration.require_space", full)
    done = restore(proven.homelab, plan(proven))
    assert not done.passed and done.reason == "not probed: no room" and done.kept is None
    place = proven.root / "data"
    assert list(result_lines(done))[-1] == (
        f"NOT REPLACED: not probed: no room; {place} is as it was, and what was restored is gone"
    )
    assert tree(proven.root / "data") == proven.spoilt and not beside(proven)


@pytest.mark.parametrize("when", ["restoring", "replacing"])
def test_what_fails_leaves_the_old_data(proven, monkeypatch, when):
    if when == "restoring":
        behave(proven, app_files={"restore_error": "broken"})
    else:
        move = replaced._move

        def broken(path, to):
            if to == proven.root / "data" and ".partial-" in str(path):
                raise OSError(5, "broken")
            move(path, to)

        monkeypatch.setattr(replaced, "_move", broken)
    with pytest.raises((RuntimeError, StateError), match="broken"):
        restore(proven.homelab, plan(proven))
    assert tree(proven.root / "data") == proven.spoilt and not beside(proven)


def test_where_nothing_is_left_it_comes_back(proven):
    shutil.rmtree(proven.root / "data")
    done = restore(proven.homelab, plan(proven))
    assert done.passed and done.kept is None
    assert tree(proven.root / "data") == proven.good and not beside(proven)


def test_a_single_file_is_replaced(site, dagster_home):
    make_fake(site, policy().replace('HERE / "data"', 'HERE / "data" / "one.txt"'), home=dagster_home)
    settings, file = site.root / "homelab.toml", site.root / "data" / "one.txt"
    settings.write_text('restore_roots = ["."]\n' + settings.read_text())
    key = site.backup().key
    file.write_text("spoilt\n")
    done = restore(site.homelab, plan(site, key=key))
    assert done.passed and file.read_text() == "one\n" and (done.kept / "one.txt").read_text() == "spoilt\n"
    file.unlink()
    file.mkdir()
    with pytest.raises(HomelabError, match="is a directory now, and was a file"):
        restore(site.homelab, plan(site, key=key))


@pytest.mark.parametrize("command", ["resume", "backup", "restore"])
def test_who_comes_after_a_kill_puts_the_old_data_back(proven, say, command):
    killed_between(proven)
    said = say(*IN_PLACE, "--plan")
    assert [line.split()[1].rstrip(",") for line in said.out.splitlines() if "  mends " in line] == [
        str(proven.root / f"data.partial-{'0' * 16}"),
        str(proven.root / f"data.before-{proven.snapshot.key}-20261125T110000Z"),
    ]
    if command == "resume":
        said = say(*RESTORE, "--resume")
        assert said.code == 0 and said.out == f"{proven.root / 'data'}: what was there before was put back\n"
    elif command == "backup":
        assert proven.backup().counts["files"] == 3
    else:
        done = restore(proven.homelab, plan(proven))
        assert tree(done.kept / "data") == proven.spoilt
        return
    assert tree(proven.root / "data") == proven.spoilt and not beside(proven)
    assert "no restore was killed here" in say(*RESTORE, "--resume").out


def test_what_has_come_meanwhile_is_told_of_and_not_touched(proven, say):
    killed_between(proven)
    (proven.root / "data").mkdir()
    (proven.root / "data" / "mine").write_text("mine")
    said = say(*RESTORE, "--resume")
    assert said.code == 1 and f"something else has come to {proven.root / 'data'} while it was replaced" in said.err
    for work in (proven.backup, lambda: restore(proven.homelab, plan(proven))):
        with pytest.raises(StateError, match="something else has come to"):
            work()
    assert os.listdir(proven.root / "data") == ["mine"]
    assert tree(next(proven.root.glob("data.before-*/data"))) == proven.spoilt


def test_the_next_plan_names_what_is_kept(proven, say):
    kept = restore(proven.homelab, plan(proven)).kept
    assert f"  kept       {kept}, by an earlier restore\n" in say(*IN_PLACE, "--plan").out
    assert "no restore was killed here" in say(*RESTORE, "--resume").out and kept.is_dir()


def test_no_backup_of_the_source_runs_meanwhile(proven, monkeypatch):
    put, seen = over._put, []

    def watched(homelab, wanted, new):
        try:
            with repository_lock(homelab.home / "locks", homelab.repository(TARGET).location, timeout=0):
                seen.append("free")
        except RepositoryLockedError:
            seen.append("held")
        return put(homelab, wanted, new)

    monkeypatch.setattr(over, "_put", watched)
    assert restore(proven.homelab, plan(proven)).passed and seen == ["held"]


def test_what_is_asked_wrongly(proven, say):
    for arguments, words in (
        ((*IN_PLACE, "--to", "there"), "leave --to or --in-place away"),
        ((*RESTORE, "--confirm", "x"), "--confirm is for --in-place"),
        ((*RESTORE, "--resume", "--plan"), "--resume needs a target and nothing else"),
    ):
        said = say(*arguments)
        assert said.code == 2 and words in said.err and not said.out, arguments
