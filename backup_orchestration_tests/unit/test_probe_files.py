"""The `files` probe on trees that came back right, wrong, or changed while they were captured."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta

import pytest
from trees import DAY_BEFORE, FINISHED, STARTED, Capture, nanoseconds, touch, touch_all

from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Dump
from backup_orchestration.probes.base import Restored
from backup_orchestration.probes.files import FilesOptions, FilesProbe

INSIDE = STARTED + timedelta(seconds=30)
HOSTILE = ["new\nline", "escape\x1b[2J", os.fsdecode(b"latin-\xff"), "  spaces  ", "\\", "'\"$(x)`", "-rf", "a" * 200]


@pytest.fixture
def capture(tmp_path):
    """A source with files, folders and links, captured and restored as it was."""
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "one.txt").write_text("one\n")
    (source / "sub/two.bin").write_bytes(bytes(range(256)) * 16)
    (source / "link").symlink_to("one.txt")
    (source / "into").symlink_to("sub")
    touch_all(source)
    return Capture(source, tmp_path / "lab").take()


def fault(capture, **snapshot_fields) -> str:
    with pytest.raises(ProbeFailedError) as failed:
        capture.probe(**snapshot_fields)
    return failed.value.message


def test_what_came_back_as_it_was_passes_with_its_counts(capture):
    found = capture.probe()
    assert found.summary == "2 files, 4,100 bytes as captured"
    assert found.counts == {"files": 2, "directories": 3, "links": 2, "bytes": 4100, "changed_during_capture": 0}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda at: (at / "one.txt").unlink(), "one.txt is missing"),
        (lambda at: (at / "link").unlink(), "link is missing"),
        (lambda at: (at / "sub/empty").rmdir(), "sub/empty is missing"),
        (lambda at: shutil.rmtree(at / "sub"), "sub is missing"),
        (lambda at: shutil.rmtree(at), "source is missing"),
        (lambda at: (at / "one.txt").write_text("two\n"), "one.txt has other bytes than were captured"),
        (lambda at: (at / "one.txt").write_text("one"), "one.txt has 3 bytes, it had 4"),
        (lambda at: (at / "one.txt").write_text(""), "one.txt has 0 bytes, it had 4"),
        (lambda at: os.truncate(at / "sub/two.bin", 4095), "sub/two.bin has 4,095 bytes, it had 4,096"),
        (lambda at: (at / "one.txt").chmod(0o600), "one.txt has mode 0600, it had 0644"),
        (lambda at: (at / "sub").chmod(0o700), "sub has mode 0700, it had 0755"),
        (lambda at: [(at / "link").unlink(), (at / "link").symlink_to("sub")], "link points to sub, it pointed to one"),
        (lambda at: [(at / "link").unlink(), (at / "link").write_text("one\n")], "link is a file, it was a link"),
        (lambda at: [(at / "one.txt").unlink(), (at / "one.txt").mkdir()], "one.txt is a dir, it was a file"),
        (lambda at: [(at / "one.txt").unlink(), os.mkfifo(at / "one.txt")], "one.txt is a special file, it was a file"),
        (lambda at: (at / "new.txt").write_text("new"), "new.txt is there and was not captured"),
        (lambda at: (at / "sub/empty/new").mkdir(), "sub/empty/new is there and was not captured"),
        (lambda at: (at / "sub/new").symlink_to("nowhere"), "sub/new is there and was not captured"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_came_back_wrong_is_named(tmp_path, capture, damage, says):
    (capture.source / "one.txt").chmod(0o644)
    (capture.source / "sub").chmod(0o755)
    shutil.rmtree(capture.lab)
    capture.take()
    damage(capture.copy)
    touch_all(capture.lab)  # damage does not tell its time
    said = fault(capture)
    assert f"{capture.source}/{says}".replace(f"{capture.source}/source ", f"{capture.source} ") in said


def test_one_flipped_bit_with_everything_else_kept_is_seen(capture):
    path = capture.copy / "sub/two.bin"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    touch(path)
    assert "two.bin has other bytes" in fault(capture)


def test_many_faults_are_counted_and_the_first_are_shown(capture):
    shutil.rmtree(capture.copy)
    said = fault(capture)
    assert said.count("is missing") == 3
    assert said.endswith("(and 4 more)")


def test_names_that_are_hostile_or_no_text_come_back(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in HOSTILE:
        (source / name).write_text(name, errors="surrogateescape")
    (source / "link").symlink_to(HOSTILE[2])
    touch_all(source)
    capture = Capture(source, tmp_path / "lab").take()
    assert capture.probe().counts["files"] == len(HOSTILE)
    (capture.copy / HOSTILE[2]).unlink()
    touch(capture.copy)
    assert f"{HOSTILE[2]} is missing" in fault(capture)


@pytest.mark.parametrize("replaced", ["sub", "sub/empty", "."])
def test_a_directory_replaced_by_a_link_out_of_the_lab_is_not_followed(tmp_path, capture, replaced, monkeypatch):
    """The link leads to a perfect copy: whoever followed it would find everything in order."""
    there = tmp_path / "outside"
    shutil.copytree(capture.source / replaced, there, symlinks=True)
    (there / "somebody-elses-secret").write_text("x")
    touch_all(there)
    directory = capture.copy / replaced
    shutil.rmtree(directory)
    directory.symlink_to(there)
    touch(directory)
    opened = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (opened.append(os.path.realpath(path)), real(path))[1])
    said = fault(capture)
    assert "is a link, it was a dir" in said
    assert "somebody-elses-secret" not in said
    assert not any(path.startswith(str(there)) for path in opened)


def test_below_what_is_no_directory_any_more_everything_is_missing(capture):
    shutil.rmtree(capture.copy / "sub")
    (capture.copy / "sub").symlink_to(capture.source / "sub")
    said = fault(capture)
    assert "sub/two.bin is missing" in said
    assert "sub/empty is missing" in said


# While it was captured: the manifest hashed the file first, the tool read it afterwards.


def test_a_file_written_during_the_capture_is_accepted_and_counted(capture):
    (capture.copy / "one.txt").write_text("rewritten meanwhile")
    touch(capture.copy / "one.txt", INSIDE)
    found = capture.probe()
    assert found.counts["changed_during_capture"] == 1
    assert found.summary.endswith("as captured, 1 changed during the capture")


@pytest.mark.parametrize(
    "moment",
    [STARTED - timedelta(seconds=1), FINISHED + timedelta(seconds=2), DAY_BEFORE],
    ids=["before", "after", "same"],
)
def test_a_file_written_at_another_time_is_not(capture, moment):
    (capture.copy / "one.txt").write_text("rewritten")
    touch(capture.copy / "one.txt", moment)
    assert "one.txt has 9 bytes" in fault(capture)


def test_a_file_that_had_that_time_already_when_it_was_hashed_is_not(capture):
    """Written inside the capture, but before it was hashed: from then on it did not change."""
    touch(capture.source / "one.txt", INSIDE)
    shutil.rmtree(capture.lab)
    capture.take()
    (capture.copy / "one.txt").write_text("two\n")
    touch(capture.copy / "one.txt", INSIDE)
    assert "other bytes" in fault(capture)


def test_where_the_end_of_the_capture_is_unknown_the_restore_ends_it(capture):
    (capture.copy / "one.txt").write_text("rewritten")
    touch(capture.copy / "one.txt", FINISHED + timedelta(minutes=20))
    assert "one.txt has 9 bytes" in fault(capture)
    assert capture.probe(finished_at=None).counts["changed_during_capture"] == 1


def test_what_went_during_the_capture_is_accepted_and_counted(capture):
    (capture.copy / "sub/two.bin").unlink()
    touch(capture.copy / "sub", INSIDE)
    assert capture.probe().counts["changed_during_capture"] == 1


def test_a_whole_directory_may_go_during_the_capture(capture):
    shutil.rmtree(capture.copy / "sub")
    touch(capture.copy, INSIDE)
    assert capture.probe().counts["changed_during_capture"] == 3


def test_what_came_during_the_capture_is_accepted(capture):
    (capture.copy / "sub/new").write_text("new")
    touch(capture.copy / "sub", INSIDE)
    assert capture.probe().counts["files"] == 2


def test_a_change_in_one_directory_excuses_no_other(capture):
    (capture.copy / "one.txt").unlink()
    touch(capture.copy)
    touch(capture.copy / "sub", INSIDE)
    assert "one.txt is missing" in fault(capture)


@pytest.mark.parametrize("moment", [DAY_BEFORE - timedelta(hours=1), FINISHED + timedelta(hours=1)])
def test_a_directory_that_changed_at_another_time_excuses_nothing(capture, moment):
    (capture.copy / "one.txt").unlink()
    touch(capture.copy, moment)
    assert "one.txt is missing" in fault(capture)


def test_a_directory_that_did_not_change_after_it_was_listed_excuses_nothing(capture):
    touch(capture.source, INSIDE)
    shutil.rmtree(capture.lab)
    capture.take()
    (capture.copy / "one.txt").unlink()
    touch(capture.copy, INSIDE)
    assert "one.txt is missing" in fault(capture)


def test_a_kind_that_changed_is_red_also_during_the_capture(capture):
    (capture.copy / "one.txt").unlink()
    (capture.copy / "one.txt").symlink_to("sub")
    touch(capture.copy / "one.txt", INSIDE)
    assert "is a link, it was a file" in fault(capture)


# The manifest itself.


def test_a_manifest_that_is_cut_off_is_red_though_all_it_lists_is_there(capture):
    lines = capture.listed.read_text().splitlines(keepends=True)
    capture.listed.write_text("".join(lines[:-1]))
    assert "is cut off" in fault(capture)


def test_a_manifest_of_another_run_is_red(capture):
    assert fault(capture, run_id="run-2") == "the manifest belongs to app/files, run run-1"
    assert fault(capture, target="app/other") == "the manifest belongs to app/files, run run-1"


def test_a_snapshot_without_a_manifest_is_red(capture):
    assert "holds no manifest" in fault(capture, paths=(str(capture.source),))


def test_a_manifest_that_did_not_come_back_is_red(capture):
    capture.listed.unlink()
    assert "the manifest is not there" in fault(capture)


def test_an_entry_that_was_taken_out_of_the_manifest_is_a_stranger(capture):
    lines = [line for line in capture.listed.read_text().splitlines(keepends=True) if "two.bin" not in line]
    capture.listed.write_text("".join(lines))
    assert "two.bin is there and was not captured" in fault(capture)


def test_a_manifest_beside_the_data_is_no_stranger(capture):
    inside = capture.copy / capture.listed.name
    shutil.move(capture.listed, inside)
    touch(capture.copy)
    paths = (str(capture.source), f"{capture.source}/{capture.listed.name}")
    assert capture.probe(paths=paths).counts["files"] == 2


# Dumps have no manifest: their size is what is known.


@pytest.mark.parametrize(
    ("content", "size", "says"),
    [("dump\n", 5, ""), ("dum", 5, "has 3 bytes, the dump had 5"), ("", 0, "has 0 bytes"), (None, 5, "is missing")],
    ids=["whole", "cut-off", "empty", "missing"],
)
def test_a_dump_has_the_size_it_had(tmp_path, content, size, says):
    policy = BackupPolicy(target="app/dump", source=Dump(command=["pg_dump"], filename="app.sql"))
    snapshot = Snapshot("app/dump", "restic", "/r", "repo-1", "a" * 64, STARTED, size, paths=("/app.sql",))
    if content is not None:
        (tmp_path / "app.sql").write_text(content)
    restored = Restored(tmp_path, policy, snapshot, FINISHED)
    if not says:
        assert FilesProbe().check(restored, FilesOptions()).counts == {"files": 1, "bytes": 5}
        return
    with pytest.raises(ProbeFailedError, match=says):
        FilesProbe().check(restored, FilesOptions())


def test_the_times_of_these_tests_are_what_they_claim():
    assert nanoseconds(DAY_BEFORE) < nanoseconds(STARTED) < nanoseconds(INSIDE) < nanoseconds(FINISHED)
