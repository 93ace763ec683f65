"""Restored trees and files that were made to lead a probe elsewhere, to hold it up, or to fill the memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import socket
import tarfile
from pathlib import Path

import pytest
from hostile import HEADING, Outside, alarmed, assert_printable, bomb, many_members, peak_growth
from trees import Capture, touch_all

from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.trees import destroy
from backup_orchestration.probes.certificate import CertificateOptions, CertificateProbe
from backup_orchestration.probes.documents import DocumentsProbe
from backup_orchestration.probes.files import FilesOptions, FilesProbe
from backup_orchestration.providers.capture import empty_staging


@pytest.fixture
def outside(tmp_path):
    return Outside(tmp_path / "outside")


@pytest.fixture
def capture(tmp_path):
    """A tree, and in it what the certificate probe looks for."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "one").write_text("one\n")
    (source / "sub/two").write_text("two\n")
    (source / "leaf.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    touch_all(source)
    return Capture(source, tmp_path / "lab").take()


def said(probe, capture, outside, options=None):
    """What came of a probe, as it is shown and recorded; nothing outside of the lab was touched."""
    with alarmed():
        try:
            found = probe.check(capture.restored(), options or probe.options()).summary
        except ProbeFailedError as error:
            found = error.message
    outside.assert_untouched(found)
    shown = REDACTOR.clean(found)
    assert_printable(shown)
    return shown


def row(matrix, name, probe, shown, capture):
    matrix(HEADING, name, probe.name, shown.replace(str(capture.source), "").replace(str(capture.lab.parent), "")[:100])


def instead(path: Path, make) -> None:
    """Something else in the place of a restored file or directory."""
    path.rename(path.with_name("away"))
    make(path)


def lines(capture, *entries, before=1):
    """Further lines of the manifest."""
    text = capture.listed.read_text().splitlines()
    text[before:before] = [json.dumps(entry) if isinstance(entry, dict) else entry for entry in entries]
    capture.listed.write_text("\n".join(text) + "\n")


def entry(path, kind="file", **fields):
    return {"path": str(path), "kind": kind, "mode": 0o644, **fields}


def again(capture):
    """The manifest's line of the file `one`."""
    return next(line for line in capture.listed.read_text().splitlines() if '/one"' in line)


def device(path):
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/{path.name}")  # the paths of sockets are short
        os.close(here)


FILES = {
    "manifest: a link out of the lab": (
        lambda at, out: instead(at.listed, lambda path: path.symlink_to(out.file)),
        "/staging/homelab-manifest.jsonl leads out of the lab",
    ),
    "manifest: a pipe": (lambda at, out: instead(at.listed, os.mkfifo), "is a special file"),
    "manifest: the directory above is a link out of the lab": (
        lambda at, out: instead(at.listed.parent, lambda path: path.symlink_to(out.directory)),
        "leads out of the lab",
    ),
    "manifest: a line without end": (
        lambda at, out: (at.listed.write_text(""), os.truncate(at.listed, 3 << 30)),
        "holds a line that is none",
    ),
    "manifest: an entry with '..'": (
        lambda at, out: lines(at, entry(f"{at.source}/../outside/file"), before=2),
        "where or when it cannot be",
    ),
    "manifest: an entry elsewhere": (lambda at, out: lines(at, entry("/etc/passwd"), before=2), "/etc/passwd where"),
    "manifest: an entry behind a link that is not listed": (
        lambda at, out: (
            (at.copy / "new").symlink_to(out.directory), lines(at, entry(at.source / "new/inner"), before=2)
        ),
        "where or when it cannot be",
    ),
    "manifest: an entry listed twice": (lambda at, out: lines(at, again(at), before=-1), "where or when it cannot be"),
    "manifest: a line that is no entry": (lambda at, out: lines(at, "[1]"), "holds a line that is none"),
    "source: a link to a directory outside": (
        lambda at, out: instead(at.copy, lambda path: path.symlink_to(out.directory)),
        "is a link, it was a dir",
    ),
    "source: the directory above is a link out of the lab": (
        lambda at, out: instead(at.copy.parent, lambda path: path.symlink_to(out.root)),
        "leads out of the lab",
    ),
    "file: a link out of the lab": (
        lambda at, out: instead(at.copy / "one", lambda path: path.symlink_to(out.file)),
        "one is a link, it was a file",
    ),
    "file: a pipe": (lambda at, out: instead(at.copy / "one", os.mkfifo), "one is a special file, it was a file"),
    "file: a socket": (lambda at, out: instead(at.copy / "one", bound_socket), "one is a special file, it was a file"),
    "names: line feeds, escapes, invalid UTF-8, right to left": (
        lambda at, out: (at.copy / os.fsdecode(b"a\n\x1b[2J\xff\xc2\x9b31m\xe2\x80\xae")).touch(),
        "a\\x0a\\x1b[2J\\xdcff\\x9b31m\\x202e is there and was not captured",
    ),
}  # fmt: skip
if os.geteuid() == 0:
    FILES["file: a device"] = (lambda at, out: instead(at.copy / "one", device), "one is a special file, it was a file")


@pytest.mark.parametrize("name", FILES)
def test_a_tree_that_leads_elsewhere(capture, outside, matrix, name):
    plant, words = FILES[name]
    plant(capture, outside)
    found = []
    grown = peak_growth(lambda: found.append(said(FilesProbe(), capture, outside)))
    row(matrix, name, FilesProbe, found[0], capture)
    assert words in found[0]
    assert grown < 1_000_000_000


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("../outside/file")], ids=["pipe", "link"])
def test_a_required_file_that_leads_elsewhere_is_missing(capture, outside, make):
    instead(capture.copy / "one", make)
    shown = said(FilesProbe(), capture, outside, FilesOptions(required=[capture.source / "one"]))
    assert "it was a file" in shown or "special" in shown or "leads out" in shown


def test_a_tree_of_a_thousand_levels_and_more_passes(swept, outside, matrix, monkeypatch):
    """As deep as a path may be; Python's own walks end at a thousand."""
    source = swept / "source"
    made = source
    for _ in range(1050):
        made.mkdir()
        made = made / "d"
    made.write_text("deep")
    capture = Capture(source, swept / "lab")
    monkeypatch.setattr(shutil, "copytree", lambda old, new, symlinks: check(Command(["cp", "-a", old, new], 60)))
    shown = said(FilesProbe(), capture.take(), outside)
    row(matrix, "tree: 1,050 levels deep", FilesProbe, shown, capture)
    assert "1 files, 4 bytes as captured" in shown
    destroy(source)
    destroy(capture.lab)
    assert not source.exists() and not capture.lab.exists()


CERTIFICATES = {
    "certificate: a pipe": (os.mkfifo, "is a special file"),
    "certificate: a link out of the lab": (lambda path: path.symlink_to("/etc/passwd"), "leads out of the lab"),
    "certificate: four gigabytes": (lambda path: (path.touch(), os.truncate(path, 4 << 30)), "is larger than 4,194,"),
    "certificate: rubbish between its lines": (
        lambda path: path.write_bytes(b"-----BEGIN CERTIFICATE-----\n\x1b[2J\xff\n-----END CERTIFICATE-----\n"),
        "holds no certificate",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_hostile_certificate(capture, outside, matrix, name):
    make, words = CERTIFICATES[name]
    instead(capture.copy / "leaf.pem", make)
    path = capture.source / "leaf.pem"
    options = CertificateOptions(certificate=path, key=path, ca=path)
    found = []
    grown = peak_growth(lambda: found.append(said(CertificateProbe(), capture, outside, options)))
    row(matrix, name, CertificateProbe, found[0], capture)
    assert words in found[0]
    assert grown < 100_000_000


@pytest.fixture
def export(capture):
    """What an export of Meilisearch left, in the lab."""
    directory = capture.listed.parent / "export"
    directory.mkdir()
    (directory / "counts.json").write_text(json.dumps({"before": {"films": 1}, "after": {"films": 1}}))
    (directory / "a.dump").write_bytes(dump(b'{"id": 1}\n'))
    return directory


def dump(content, name="indexes/films/documents.jsonl"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def outside_with_dump(outside):
    """And there is a dump that would pass."""
    outside.dump = outside.root / "a.dump"
    outside.dump.write_bytes(dump(b'{"id": 1}\n'))
    outside.before = outside.state()
    return outside


def put(content):
    return lambda at, out: (at / "a.dump").write_bytes(content() if callable(content) else content)


DOCUMENTS = {
    "dump: as it should be": (lambda at, out: None, "1 indexes, 1 documents"),
    "dump: a link out of the lab": (
        lambda at, out: instead(at / "a.dump", lambda path: path.symlink_to(out.dump)),
        "a.dump leads out of the lab",
    ),
    "dump: a pipe": (lambda at, out: instead(at / "a.dump", os.mkfifo), "a.dump is a special file"),
    "dump: its counts are a link out of the lab": (
        lambda at, out: instead(at / "counts.json", lambda path: path.symlink_to(out.file)),
        "counts.json leads out of the lab",
    ),
    "dump: its counts are a pipe": (lambda at, out: instead(at / "counts.json", os.mkfifo), "is a special file"),
    "dump: a document of 10 GB in 10 MB": (put(lambda: bomb("indexes/a/documents.jsonl", 10)), "longer than 104,857,"),
    "dump: a header of 10 GB in 10 MB": (put(lambda: bomb("x", 10, tarfile.XHDTYPE)), "a header that is too long"),
    "dump: a name of 10 GB in 10 MB": (put(lambda: bomb("x", 10, tarfile.GNUTYPE_LONGNAME)), "a header that is too"),
    "dump: 40,000 members": (put(lambda: many_members(40_000)), "index films has 0 documents"),
    "dump: a member named '../../x'": (put(dump(b"{}", "../../documents.jsonl")), "index films has 0 documents"),
    "dump: nested a thousand deep": (put(dump(b"[" * 100_000)), "is no Meilisearch dump: maximum recursion"),
    "dump: cut off": (put(dump(b'{"id": 1}\n')[:60]), "is no Meilisearch dump"),
    "dump: not packed at all": (put(b"\x1b[2J" * 100), "is no Meilisearch dump"),
    "dump: nothing, packed": (put(gzip.compress(b"")), "is no Meilisearch dump: empty file"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_hostile_dump(capture, export, outside_with_dump, matrix, name):
    plant, words = DOCUMENTS[name]
    plant(export, outside_with_dump)
    found = []
    grown = peak_growth(lambda: found.append(said(DocumentsProbe(), capture, outside_with_dump)))
    row(matrix, name, DocumentsProbe, found[0], capture)
    assert words in found[0]
    assert grown < (600 if "10 GB" in name else 60) * 1_000_000


def test_what_an_export_left_is_out_of_the_way_of_the_next(swept):
    """A thousand levels, and directories that nobody may enter."""
    staging = swept / "staging"
    path = staging
    for _ in range(1050):
        path.mkdir(mode=0o700)
        path = path / "d"
    (staging / "closed").mkdir()
    (staging / "closed/file").touch()
    (staging / "closed").chmod(0o000)
    empty_staging(staging)
    assert list(staging.iterdir()) == []
