"""A place whose old content is kept: killed before any step, nothing is lost, and the next one mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from backup_orchestration.core import replaced
from backup_orchestration.core.errors import StateError
from backup_orchestration.core.replaced import Outcome, replace, replacements, settle

KEY, NOW = "20261124T020000Z-0a1b2c3d", datetime(2026, 11, 25, 11, 0, tzinfo=UTC)

# Forks for each step, and kills the child right before its n-th change of a name, or its n-th opened file.
KILLED = """\
import itertools, json, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from backup_orchestration.core.replaced import replace, replacements, settle
os.sync = lambda: None  # it kills nobody, and waits for all disks
root, key, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
WATCHED = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}

def work(case):
    if what == "replace":
        replace(case / "place", case / "new", key, datetime(2026, 11, 25, tzinfo=UTC))
    else:
        for item in replacements(case / "place"):
            settle(item)

def child(case, last):
    seen = itertools.count()
    def hook(event, arguments):
        if event in WATCHED and str(root) in str(arguments[0]) and next(seen) == last:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    work(case)
    os._exit(0)

for case in sorted(root.iterdir()):
    pid = os.fork()
    if pid == 0:
        child(case, int(case.name))
    print(json.dumps(os.waitpid(pid, 0)[1]))
"""
STEPS = 24


def make(case, kind):
    case.mkdir()
    if kind == "file":
        (case / "place").write_text("old")
        (case / "place").chmod(0o640)
        (case / "new").write_text("new")
    else:
        (case / "place" / "sub").mkdir(parents=True)
        (case / "place" / "sub" / "one").write_text("old")
        (case / "place").chmod(0o750)
        (case / "new").mkdir()
        (case / "new" / "two").write_text("new")


def tree(path):
    """Everything of a file or a directory, but the time of the last change of its inode."""
    found = [path, *sorted(path.rglob("*"))]
    return [
        (str(item.relative_to(path)), item.lstat().st_ino, item.lstat().st_mode, item.lstat().st_mtime_ns)
        + ((item.read_bytes(), item.lstat().st_nlink) if item.is_file() else ())
        for item in found
    ]


def killed(root, what):
    argv = [sys.executable, "-c", KILLED, str(root), KEY, what]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_killed_before_any_step_nothing_is_lost(tmp_path, kind):
    cases = [tmp_path / f"{number:02}" for number in range(STEPS)]
    for case in cases:
        make(case, kind)
    before = {case: (tree(case / "place"), tree(case / "new")) for case in cases}
    codes = killed(tmp_path, "replace")
    assert codes[0] == 9 and codes[-1] == 0, "more steps than are killed here"
    found = set()
    for case in cases:
        old, new = before[case]
        outcomes = [settle(item) for item in replacements(case / "place")]
        if (case / "place").lstat().st_ino == new[0][1]:
            (kept,) = replacements(case / "place")
            assert outcomes == [Outcome.REPLACED] and kept.done
            assert tree(kept.old) == old and kept.root.stat().st_mode & 0o777 == 0o700
            (case / "new").unlink(missing_ok=True)  # a file that was killed between its two names
            assert tree(case / "place") == new
        else:
            assert tree(case / "place") == old and tree(case / "new") == new
            assert sorted(os.listdir(case)) == ["new", "place"]
        found.update(outcomes)
    assert found == {Outcome.UNTOUCHED, Outcome.PUT_BACK, Outcome.REPLACED}


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_who_mends_may_be_killed_as_well(tmp_path, kind):
    cases = [tmp_path / f"{number:02}" for number in range(STEPS)]
    before = {}
    for case in cases:
        make(case, kind)
        before[case] = tree(case / "place")
        root = case / f"place.before-{KEY}-20261125T110000Z"
        root.mkdir()
        (root / "homelab-replacing.json").write_text('{"new": 1}')
        (case / "place").rename(root / "place")
    codes = killed(tmp_path, "settle")
    assert codes[0] == 9 and codes[-1] == 0, "more steps than are killed here"
    for case in cases:
        for item in replacements(case / "place"):
            assert settle(item) in (Outcome.PUT_BACK, Outcome.UNTOUCHED)
        assert tree(case / "place") == before[case]
        assert sorted(os.listdir(case)) == ["new", "place"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_came_to_the_place_meanwhile_is_not_touched(tmp_path, monkeypatch, kind):
    case = tmp_path / "case"
    make(case, kind)
    old, move = tree(case / "place"), replaced._move
    mine = case / "place" if kind == "file" else case / "place" / "mine"

    def late(path, to):
        move(path, to)
        if path == case / "place":
            mine.parent.mkdir(exist_ok=True)
            mine.write_text("mine")

    monkeypatch.setattr(replaced, "_move", late)
    with pytest.raises(StateError, match=r"something else has come to .*/place while it was replaced"):
        replace(case / "place", case / "new", KEY, NOW)
    monkeypatch.undo()
    (kept,) = replacements(case / "place")
    assert mine.read_text() == "mine" and tree(kept.old) == old and settle(kept) is Outcome.STRANGER
    (case / "place").rename(case / "mine")
    assert settle(kept) is Outcome.PUT_BACK and tree(case / "place") == old and not replacements(case / "place")


def test_a_new_one_that_cannot_come_leaves_the_old_one(tmp_path):
    case = tmp_path / "case"
    make(case, "directory")
    old = tree(case / "place")
    with pytest.raises(StateError, match="cannot be replaced: No such file"):
        replace(case / "place", case / "gone", KEY, NOW)
    assert tree(case / "place") == old and not replacements(case / "place")


def test_what_goes_on_is_let_be(tmp_path, monkeypatch):
    case = tmp_path / "case"
    make(case, "directory")
    move, seen = replaced._move, []

    def watched(path, to):
        seen.extend(settle(item) for item in replacements(case / "place"))
        move(path, to)

    monkeypatch.setattr(replaced, "_move", watched)
    replace(case / "place", case / "new", KEY, NOW)
    assert seen == [Outcome.WORKING, Outcome.WORKING] and (case / "place" / "two").exists()


def test_what_is_not_ours_is_not_looked_at(tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "place.before-2024").mkdir()
    full = tmp_path / f"place.before-{KEY}-20261125T110000Z"
    full.mkdir()
    (full / "mine").write_text("mine")
    assert replacements(tmp_path / "place") == []
