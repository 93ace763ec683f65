"""Restores in place that are killed at many moments: the old data or the new stands there, whole, after `--resume`."""

from __future__ import annotations

import os
import signal
import time

import pytest
from kills import begin, files_of, fill, gone, tool_begins
from running import parent

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


def content(root):
    return {path.name: path.read_bytes() for path in root.iterdir()}


@pytest.mark.parametrize("who", ["command", "worker", "tool"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", range(4))
def test_a_restore_in_place_is_killed(sites, chance, matrix, who, number, moment):
    site = sites("in-place")
    settings = site.root / "homelab.toml"
    settings.write_text('restore_roots = ["."]\n' + settings.read_text())
    data = fill(site.root / "source", 16)
    site.declare(files_of(data))
    key = site.backup().key
    good = content(data)
    (data / "part-0").write_bytes(b"spoilt")
    spoilt = content(data)
    wanted = ("restore", "--target", "app/files", "--snapshot", key, "--in-place", "--confirm", f"app/files@{key}")
    command = begin(site, *wanted)
    pid = tool_begins(site, "restore")
    worker = parent(pid)
    time.sleep(chance.uniform(0, 1.2))
    victim = {"command": command.process.pid, "worker": worker, "tool": pid}[who]
    try:
        os.kill(victim, number)
    except ProcessLookupError:
        who = f"{who}, which had ended"
    code = command.end()
    gone(site)
    resumed = site.cli("backup", "restore", "--target", "app/files", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    there = content(data)
    assert there == good if code == 0 else there in (spoilt, good), command.said()
    kept = [path for path in site.root.glob("source.before-*") if path.is_dir()]
    assert [content(path / "source") for path in kept] == ([spoilt] if there == good else [])
    again = begin(site, *wanted)
    assert again.end() == 0, again.said()
    assert content(data) == good and not list(site.root.glob("source.partial-*"))
    stands = "the new data" if there == good else "the old data"
    matrix("Restores in place killed: 0 to 1.2 s after the tool began", who, number.name, f"exit code {code}", stands)
