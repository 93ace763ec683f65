"""A source full of what a hostile one may hold, through the real restic: backed up, restored, probed, destroyed."""

import json
import os
import socket
import stat

import pytest
from hostile import HEADING, Outside, alarmed, assert_printable

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

SPY = """
import json, os
from pathlib import Path
from backup_orchestration.probes.base import Finding, ProbeKind
HERE = Path(__file__).parent

class Spy(ProbeKind):
    name = "spy"
    sources = ("files",)
    def check(self, restored, options):
        kinds = {}
        for directory, folders, names in os.walk(os.fsencode(restored.path(str(HERE / "data")))):
            for name in (*folders, *names):
                path = os.path.join(directory, name)
                kinds[os.path.basename(path).hex()] = oct(os.lstat(path).st_mode)
        lab = restored.root.parent
        seen = {"modes": [oct(path.stat().st_mode & 0o7777) for path in (lab, lab.parent)], "kinds": kinds}
        (HERE / "seen.json").write_text(json.dumps(seen))
        return Finding("looked")
"""
POLICY = (
    'BackupPolicy(target="app/files", source=Files(path=str(HERE / "data")), restore_test=RestoreTest(probes=["spy"]))'
)
NAME = b"a\n\x1b]0;title\x07\x1b[2J\xff\xc2\x9b31m\xe2\x80\xaegpj"


def everything_hostile(data, outside):
    """Returns what was planted: kind of entry, by name."""
    links = {
        "absolute": outside.file, "to-a-directory": outside.directory, "relative": "../" * 40 + "etc/passwd",
        "itself": "itself", "dangling": outside.root / "made", "to-the-lab": "/proc/self/root",
    }  # fmt: skip
    for name, target in links.items():
        (data / name).symlink_to(target)
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2755)):
        (data / name).write_text(f"#!/bin/sh\n{outside.program}\n")
        (data / name).chmod(mode)
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(data, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    (data / os.fsdecode(NAME)).write_text("strange\n")
    deep = data
    for _ in range(100):
        deep = deep / "d"
        deep.mkdir()
    (data / "closed").mkdir()
    (data / "closed/file").write_text("x")
    (data / "closed").chmod(0o500)
    if os.geteuid() == 0:  # who is not root can neither make nor restore one
        os.mknod(data / "zeros", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        os.mknod(data / "disk", 0o600 | stat.S_IFBLK, os.makedev(7, 200))


def test_a_hostile_source_comes_back_and_harms_nothing(tmp_path, site, start_repository, matrix, capsys):
    outside = Outside(tmp_path / "outside")
    everything_hostile(site.root / "data", outside)
    settings = site.root / "homelab.toml"
    settings.write_text('probes = ["./spy.py:Spy"]\n' + settings.read_text())
    (site.root / "spy.py").write_text(SPY)
    start_repository(site.declare(POLICY), "app/files")
    try:
        with alarmed():
            snapshot = site.backup()
        with alarmed():
            evidence = site.restore_test()
    finally:
        (site.root / "data" / "closed").chmod(0o700)
    said = [evidence.reason, *(probe.summary for probe in evidence.probes), str(snapshot)]
    outside.assert_untouched(*said, *capsys.readouterr())
    assert_printable(*said)
    matrix(HEADING, "restic: links, pipes, devices, setuid, names, 100 levels", "files", evidence.probes[1].summary)
    assert evidence.passed, evidence.reason
    seen = json.loads((site.root / "seen.json").read_text())
    assert seen["modes"] == ["0o700", "0o700"]  # nobody else can start a setuid program in there
    planted = {b"absolute", b"setuid", b"pipe", NAME} | ({b"zeros", b"disk"} if os.geteuid() == 0 else set())
    assert {name.hex() for name in planted} <= set(seen["kinds"])
    assert list((site.root / ".homelab/labs").iterdir()) == []


def test_a_name_is_shown_and_not_obeyed_when_it_is_missing(tmp_path, site, start_repository, monkeypatch, matrix):
    from defects import at, planted

    (site.root / "data" / os.fsdecode(NAME)).write_text("strange\n")
    start_repository(site, "app/files")
    site.backup()
    planted(monkeypatch, at(os.fsdecode(NAME), lambda path: path.unlink()))
    evidence = site.restore_test()
    assert not evidence.passed
    assert "a\\x0a\\x1b]0;title\\x07\\x1b[2J\\xdcff\\x9b31m\\x202egpj is missing" in evidence.reason
    matrix(HEADING, "restic: a name with escapes is missing", "files", evidence.reason.rpartition("/")[2])
    for stored in (site.root / "evidence").rglob("*.json"):
        text = json.loads(stored.read_text())
        assert_printable(json.dumps(text, ensure_ascii=False))
    for words in (["backup", "status"], ["backup", "status", "--json"], ["backup", "list"]):
        done = site.cli(*words)
        assert "missing" in done.stdout or "list" in words
        assert_printable(done.stdout, done.stderr)
