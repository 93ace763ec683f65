"""`homelab backup restore` with the fake provider: the plan, what is refused, and what stands there afterwards."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from fakes import behave, damage, make_fake, policy, records

from backup_orchestration.core.commands import Command, check, run
from backup_orchestration.core.errors import HomelabError, UsageError
from backup_orchestration.operations.restore import require_word, restore
from backup_orchestration.operations.restore_plan import Wanted, plan_restore

TARGET = "app/files"


@pytest.fixture
def proven(fake):
    """A site with a verified snapshot, and a newer one that is not."""
    fake.backup()
    assert fake.restore_test().passed
    fake.backup()
    return fake


def plan(site, to=None, **wanted):
    return plan_restore(site.homelab, TARGET, Wanted(to=to, **wanted))


def tree(root):
    """Every path below a directory with what is in it, and its time; without the fake provider's own notes."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in root.rglob("*")
        if path.name != "listed.jsonl"
    }


def test_the_plan_says_everything_and_touches_nothing(proven, say):
    old, new = proven.homelab.repository(TARGET).snapshots()
    before = tree(proven.root)
    said = say("backup", "restore", "--target", "files", "--plan")
    assert said.code == 0 and tree(proven.root) == before
    place = proven.homelab.home / "restores" / f"app-files-{old.key}"
    for words in (
        f"plan: restore {TARGET}@{old.key}\n",
        f"snapshot   {old.key}, verified, data of ",
        f"from       {proven.root}/backups/fake-app-files\n",
        f"to         {place}, where there is nothing\n",
        "size       16,388 bytes; ",
        "probes     files, on a copy\n",
        "duration   the last restore test restored in 0.0 s for 16,388 bytes\n",
        f"SNAPSHOT={old.snapshot_id}\n",
        f'cp -a {proven.root}/backups/fake-app-files/snapshots/"$SNAPSHOT"/tree restored\n',
    ):
        assert words in said.out
    assert "WARNING" not in said.out and new.key not in said.out
    told = say("backup", "restore", "--target", TARGET, "--plan", "--json").json
    assert told["restored"] is None
    assert told["plan"]["word"] == f"{TARGET}@{old.key}" and told["plan"]["verdict"] == "verified"
    assert told["plan"]["obstacle"] is None
    assert tree(proven.root) == before


def test_what_is_not_verified_is_called_so_and_must_be_named(fake, say):
    snapshot = fake.backup()
    said = say("backup", "restore", "--target", TARGET, "--plan")
    assert said.code == 2 and "app/files has no verified snapshot" in said.err and not said.out
    said = say("backup", "restore", "--target", TARGET, "--snapshot", snapshot.key, "--plan")
    assert said.code == 0 and "WARNING    NOT VERIFIED: no restore test has shown" in said.out
    damage(fake, snapshot)
    assert not fake.restore_test().passed
    said = say("backup", "restore", "--target", TARGET, "--snapshot", snapshot.key, "--plan")
    assert "WARNING    THIS SNAPSHOT FAILED its last restore test" in said.out
    assert "WARNING    the target is suspect" in said.out


def test_without_evidence_a_named_snapshot_can_still_be_restored(proven, monkeypatch):
    newest = proven.homelab.repository(TARGET).latest()

    def unreadable(*_arguments):
        raise HomelabError("the disk of the evidence is gone")

    monkeypatch.setattr("backup_orchestration.operations.restore_plan.judge", unreadable)
    with pytest.raises(HomelabError, match="is gone"):
        plan(proven)
    found = plan(proven, key=newest.key)
    assert found.verdict == "unknown"
    assert found.warnings == ("NOT VERIFIED: the evidence cannot be read: the disk of the evidence is gone",)


def test_the_command_restores_and_its_way_back_works_as_it_is_written(proven):
    place, data = proven.root / "restored", proven.root / "data"
    before = tree(data)
    (data / "one.txt").write_text("spoilt\n")
    done = proven.cli("backup", "restore", "--target", TARGET, "--to", str(place), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    restored = told["restored"]
    assert (restored["passed"], restored["to"], restored["bytes"]) == (True, str(place), 16388)
    assert [item["name"] for item in restored["probes"]] == ["files"]
    assert told["plan"]["places"] == restored["places"] == {str(data): f"{place}{data}"}
    assert tree(Path(f"{place}{data}")) == before and os.readlink(f"{place}{data}/link") == "one.txt"
    assert place.stat().st_mode & 0o777 == 0o700
    assert not list(proven.root.glob("*.partial-*")) and not list((proven.homelab.home / "labs").iterdir())
    script = proven.root / "steps.sh"
    script.write_text("set -e\n" + "\n".join(restored["put_back"]) + "\n")
    check(Command(["sh", str(script)], 60))
    assert tree(data) == before
    assert (proven.root / "data.before" / "one.txt").read_text() == "spoilt\n"


def test_a_probe_that_fails_leaves_what_was_restored_and_says_so(site, dagster_home):
    """The name of the source is what a terminal would obey; it is shown and not obeyed."""
    (site.root / "data").rename(site.root / "data \x1b[31m")
    source = 'source=Files(path=str(HERE / "data \\x1b[31m"))'
    make_fake(site, policy().replace('source=Files(path=str(HERE / "data"))', source), home=dagster_home)
    snapshot = site.backup()
    damage(site, snapshot)
    place = site.root / "restored"
    done = site.cli("backup", "restore", "--target", TARGET, "--snapshot", snapshot.key, "--to", str(place))
    assert done.returncode == 1
    assert "WARNING    NOT VERIFIED" in done.stdout
    assert "restored 16,388 bytes in 0.0 s" in done.stdout
    assert "  probe files: FAILED: " in done.stdout
    assert f"what was restored stays at {place}" in done.stdout and "NOT PROVED: files: " in done.stdout
    assert "\x1b" not in done.stdout + done.stderr and "data \\x1b[31m is at " in done.stdout
    assert len(list(place.rglob("two.bin"))) == 1


def test_a_probe_that_cannot_be_carried_out_is_no_pass(proven, monkeypatch):
    def full(*_arguments):
        raise HomelabError("no room")

    monkeypatch.setattr("backup_orchestration.operations.restoration.require_space", full)
    place = proven.root / "restored"
    done = restore(proven.homelab, plan(proven, place))
    assert not done.passed and done.reason == "not probed: no room" and place.is_dir()


def test_a_provider_that_fails_leaves_nothing(proven):
    behave(proven, app_files={"restore_error": "broken"})
    place = proven.root / "restored"
    with pytest.raises(RuntimeError, match="broken"):
        restore(proven.homelab, plan(proven, place))
    assert not place.exists() and not list(proven.root.glob("*.partial-*"))


def refused_places(root):
    return {
        "the source": (root / "data" / "new", "lies in the source of app/files"),
        "the source through a link": (root / "way" / "new", "lies in the source of app/files"),
        "a repository": (root / "backups" / "new", "lies in destinations.default"),
        "the evidence": (root / "evidence" / "new", "lies in the evidence"),
        "the secrets": (root / "secrets" / "new", "lies in the secrets directory"),
        "home": (root / ".homelab" / "new", "lies in `home`"),
        "home's labs": (root / ".homelab" / "labs" / "new", "lies in `home`"),
        "home itself": (root / ".homelab", "lies in `home`"),
        "all restores": (root / ".homelab" / "restores", "lies in `home`"),
        "the machine": (root / ("../" * 40), "is the whole machine"),
        "no directory above": (root / "no" / "new", "there is no directory"),
        "a line of its own": (root / "a\nb", "holds what cannot be shown"),
    }


def test_places_that_are_refused(proven, say):
    (proven.root / "way").symlink_to("data")
    before = tree(proven.root)
    for name, (place, words) in refused_places(proven.root).items():
        said = say("backup", "restore", "--target", TARGET, "--to", str(place))
        assert said.code == 2 and words in said.err and not said.out, name
    assert tree(proven.root) == before and not records(proven, "restored.jsonl")[1:]


@pytest.mark.parametrize("kind", ["full", "file"])
def test_what_is_in_the_way_is_shown_and_not_touched(proven, say, kind):
    place = proven.root / "there"
    if kind == "full":
        place.mkdir()
        (place / "mine").write_text("mine")
    else:
        place.write_text("mine")
    for more in ([], ["--plan"]):
        said = say("backup", "restore", "--target", TARGET, "--to", str(place), *more)
        assert said.code == 2 and "is in the way" in said.err and "choose a directory that is new or empty" in said.err
        assert f"to         {place}, where there is {'1 entry' if kind == 'full' else 'a file'}\n" in said.out
    assert (place / "mine" if kind == "full" else place).read_text() == "mine"


def test_an_empty_directory_is_taken(proven):
    place = proven.root / "empty"
    place.mkdir()
    assert restore(proven.homelab, plan(proven, place)).passed


def test_what_comes_there_meanwhile_is_not_touched(proven):
    place = proven.root / "race"
    wanted = plan(proven, place)
    place.mkdir()
    (place / "mine").write_text("mine")
    with pytest.raises(HomelabError, match="is not empty any more"):
        restore(proven.homelab, wanted)
    assert (place / "mine").read_text() == "mine" and not list(proven.root.glob("*.partial-*"))


def test_a_disk_that_is_too_small_is_an_obstacle(proven, monkeypatch):
    used = shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr("backup_orchestration.operations.restore_plan.shutil.disk_usage", lambda _path: used)
    wanted = plan(proven, proven.root / "small")
    assert "needs 16,388 bytes" in str(wanted.obstacle)
    with pytest.raises(HomelabError, match="needs 16,388 bytes"):
        restore(proven.homelab, wanted)
    assert not list(proven.root.glob("small*"))


def test_the_word_is_that_of_the_plan(proven):
    wanted = plan(proven)
    require_word(wanted, wanted.word)
    for word in ("", TARGET, wanted.snapshot.key, f"{TARGET}@20200101T000000Z-deadbeef"):
        with pytest.raises(UsageError, match=f"write {wanted.word}"):
            require_word(wanted, word)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--snapshot", "20200101T000000Z-deadbeef"], "has no snapshot 20200101T000000Z-deadbeef"),
        (["--snapshot", "x", "--latest-verified"], "exclude each other"),
        (["--at", "2026-11-25T02:30:00Z"], "no moment between them"),
        (["--in-place"], "restore_roots names no directory"),
    ],
)
def test_what_is_asked_wrongly(proven, say, arguments, words):
    said = say("backup", "restore", "--target", TARGET, *arguments)
    assert said.code == 2 and words in said.err and not said.out


def test_what_is_being_restored_is_held_against_pruning(proven):
    held = proven.root / "held"
    look = f'for file in {proven.homelab.home}/locks/readers/*; do flock -n "$file" true || touch {held}; done'
    behave(proven, app_files={"restore_child": ["sh", "-c", look]})
    assert restore(proven.homelab, plan(proven, proven.root / "there")).passed
    assert held.exists()


def test_the_way_back_overwrites_nothing_a_second_time(proven):
    data = proven.root / "data"
    done = restore(proven.homelab, plan(proven, proven.root / "there"))
    steps = Command(["sh", "-c", "\n".join(done.plan.way.steps)], 60)
    shutil.rmtree(data)
    assert run(steps).returncode == 0 and (data / "one.txt").read_text() == "one\n"
    (data / "one.txt").write_text("newer\n")
    assert run(steps).returncode == 0
    (data / "two.txt").write_text("newest\n")
    assert run(steps).returncode == 1
    assert (data / "two.txt").read_text() == "newest\n" and (data.with_name("data.before") / "one.txt").exists()
