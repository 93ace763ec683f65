"""The manifest: what a capture writes is what is read, and what is cut off or foreign is no manifest."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_orchestration.core import manifest
from backup_orchestration.core.errors import ProbeFailedError, SourceError
from backup_orchestration.core.manifest import Entry, Header, Totals

HEADER = Header("app/db", "run-1", ("/srv/app.db",), 7, {"/srv/app.db": {"users": 3}})
NAMES = st.text(st.characters(exclude_characters="\0/"), min_size=1, max_size=20)
RAW = st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & {0, 47}).map(os.fsdecode)


def nothing(_path: PurePosixPath) -> bool:
    return False


def scan(root: Path, excluded=nothing) -> dict[str, Entry]:
    return {str(Path(entry.path).relative_to(root.parent)): entry for entry in manifest.scan(root, excluded)}


def written(tmp_path: Path, *entries: Entry) -> Path:
    path = tmp_path / manifest.FILENAME
    with path.open("w", encoding="ascii") as out:
        manifest.write(out, HEADER, iter(entries), lambda: 9)
    return path


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub/empty").mkdir(parents=True)
    (root / "one.txt").write_text("one\n")
    (root / "sub/two.bin").write_bytes(b"\0" * 2_000_000)
    (root / "link").symlink_to("one.txt")
    (root / "dangling").symlink_to("/nowhere")
    (root / "into").symlink_to("sub")
    return root


@given(
    st.lists(
        st.builds(
            Entry,
            NAMES | RAW,
            st.sampled_from(["file", "dir", "link"]),
            st.integers(0, 0o7777),
            st.integers(0, 2**63),
            st.integers(-(2**63), 2**63),
            NAMES | RAW,
        )
    )
)
def test_what_was_written_is_read_whatever_the_names_are(tmp_path_factory, entries):
    path = tmp_path_factory.getbasetemp() / "round-trip.jsonl"
    with path.open("w", encoding="ascii") as out:
        totals = manifest.write(out, HEADER, iter(entries), lambda: 9)
    header, read, counted = manifest.read(path)
    assert header == HEADER
    assert list(read) == entries
    assert counted() == totals
    assert totals.files + totals.directories + totals.links == len(entries)
    assert totals.bytes == sum(entry.size for entry in entries)


def test_a_tree_is_listed_whole_with_parents_first(tree):
    found = scan(tree)
    order = list(found)
    assert set(order) == {
        "tree", "tree/one.txt", "tree/link", "tree/dangling", "tree/into",
        "tree/sub", "tree/sub/empty", "tree/sub/two.bin",
    }  # fmt: skip
    assert all(order.index(str(Path(name).parent)) < order.index(name) for name in order[1:])
    assert {name: entry.kind for name, entry in found.items() if entry.kind != "file"} == {
        "tree": "dir", "tree/sub": "dir", "tree/sub/empty": "dir",
        "tree/link": "link", "tree/dangling": "link", "tree/into": "link",
    }  # fmt: skip
    assert found["tree/dangling"].digest == "/nowhere"
    assert found["tree/one.txt"].digest == "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"
    assert found["tree/sub/two.bin"].size == 2_000_000


def test_what_is_excluded_is_left_out_with_everything_below(tree):
    found = scan(tree, lambda path: path.name == "sub")
    assert not any(name.startswith("tree/sub") for name in found)
    assert "tree/one.txt" in found


def test_sockets_and_pipes_are_left_out_and_block_nothing(tree):
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tree / "socket"))  # a socket's path must be short
        found = scan(tree)
    assert not {"tree/pipe", "tree/socket"} & set(found)


def test_the_source_may_be_one_file(tree):
    assert [entry.kind for entry in manifest.scan(tree / "one.txt", nothing)] == ["file"]


def test_what_vanishes_during_the_walk_is_left_out(tree):
    found = []
    for entry in manifest.scan(tree, nothing):
        found.append(entry.path)
        (tree / "one.txt").unlink(missing_ok=True)
        (tree / "sub/two.bin").unlink(missing_ok=True)
    assert str(tree / "sub/empty") in found
    assert not {str(tree / "one.txt"), str(tree / "sub/two.bin")} & set(found)


def test_a_link_put_in_the_place_of_a_file_meanwhile_is_not_followed(tree):
    """Between listing and reading, whoever owns the tree may swap a file for a link to somebody's secret."""
    walk = manifest.scan(tree, nothing)
    listed = [next(walk), next(walk)]
    assert listed[1].path == str(tree / "dangling")
    (tree / "one.txt").unlink()
    (tree / "one.txt").symlink_to("/etc/hostname")
    with pytest.raises(SourceError, match=r"one\.txt cannot be read"):
        list(walk)


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match="nowhere does not exist") as refused:
        list(manifest.scan(tmp_path / "nowhere", nothing))
    assert "mount it" in refused.value.remedy


def test_a_source_below_a_file_cannot_be_read(tree):
    with pytest.raises(SourceError, match="cannot be read: Not a directory"):
        list(manifest.scan(tree / "one.txt/below", nothing))


def test_a_source_that_is_a_link_is_refused(tree):
    with pytest.raises(SourceError, match="is a symbolic link") as refused:
        list(manifest.scan(tree / "into", nothing))
    assert str(tree / "sub") in refused.value.remedy


@pytest.mark.unprivileged  # root may read everything
@pytest.mark.parametrize("name", ["one.txt", "sub"])
def test_what_cannot_be_read_is_an_error_and_never_left_out(tree, name):
    (tree / name).chmod(0)
    try:
        with pytest.raises(SourceError, match=f"{name} cannot be read: Permission denied"):
            list(manifest.scan(tree, nothing))
    finally:
        (tree / name).chmod(stat.S_IRWXU)


def test_a_read_error_names_the_file(tree, monkeypatch):
    def broken(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(manifest, "digest_of", broken)
    with pytest.raises(SourceError, match=r"one\.txt cannot be read: Input/output error"):
        list(manifest.scan(tree, nothing))


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_a_manifest_that_lost_its_last_lines_is_cut_off(tmp_path, lines):
    path = written(tmp_path, Entry("/a", "dir", 0o755), Entry("/a/b", "file", 0o644, 3, 5, "x"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))
    _, entries, totals = manifest.read(path)
    assert len(list(entries)) == lines - 1
    with pytest.raises(ProbeFailedError, match="is cut off"):
        totals()


def test_a_manifest_cut_off_anywhere_is_refused(tmp_path):
    path = written(tmp_path, Entry("/a", "dir", 0o755), Entry("/a/b", "file", 0o644, 3, 5, "x"))
    whole = path.read_bytes()
    for size in range(len(whole) - 1):  # without its last newline it is still whole
        path.write_bytes(whole[:size])
        with pytest.raises(ProbeFailedError):
            _, entries, totals = manifest.read(path)
            list(entries)
            totals()
    path.write_bytes(whole[:-1])
    _, entries, totals = manifest.read(path)
    assert len(list(entries)) == 2
    assert totals() == Totals(1, 1, 0, 3, 9)


@pytest.mark.parametrize(
    "first",
    [
        "",
        "not json",
        "[1]",
        "7",
        "{}",
        '{"format": "homelab-manifest-2"}',
        '{"format": "homelab-manifest-1"}',
        '{"format": "homelab-manifest-1", "roots": [], "colour": 1}',
        "\udcff",
    ],
)
def test_what_does_not_begin_like_a_manifest_is_none(tmp_path, first):
    path = tmp_path / manifest.FILENAME
    path.write_bytes(os.fsencode(f"{first}\n"))
    with pytest.raises(ProbeFailedError, match=manifest.FILENAME):
        manifest.read(path)


def test_a_manifest_that_was_not_restored_is_said(tmp_path):
    with pytest.raises(ProbeFailedError, match="the manifest is not there"):
        manifest.read(tmp_path / manifest.FILENAME)


def test_a_manifest_is_plain_ascii_lines():
    out = io.StringIO()
    manifest.write(out, HEADER, iter([Entry("/ä\n\udcff", "dir", 0)]), lambda: 9)
    lines = out.getvalue().encode("ascii").splitlines()
    assert len(lines) == 3
    assert json.loads(lines[1])["path"] == "/ä\n\udcff"
