"""Broken settings and contributor files, through the real command: exit code 2, one line, nothing written.

The table is `broken_settings.py`. What is said must name the file, the field and a remedy.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from broken_settings import SECRETS, TABLE, Broken


def tree(root: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a directory: name, kind and mode, size, time of the last change."""
    found = {}
    for directory, folders, names in os.walk(root):
        for name in ("", *folders, *names):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def break_it(site, broken: Broken) -> None:
    text = (site.root / "homelab.toml").read_text()
    for before, after in broken.settings.items():
        assert before in text
        text = text.replace(before, after)
    (site.root / "homelab.toml").write_text(text)
    if broken.policies:
        site.declare(*broken.policies)
    if broken.services:
        (site.root / "services.py").write_text(broken.services)
    broken.arrange(site.root)


@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: broken.name)
def test_is_refused_before_anything_is_touched(site, broken):
    for name in ("user", "temporary"):
        (site.root / name).mkdir()
    break_it(site, broken)
    before = tree(site.root)
    env = {"HOME": str(site.root / "user"), "TMPDIR": str(site.root / "temporary"), **broken.env}

    done = site.cli("backup", "run", "--all", env=env)

    assert tree(site.root) == before
    assert done.returncode == 2
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: ")
    assert broken.file in said
    assert broken.field in said
    assert broken.remedy in said.partition(" (")[2]
    assert not any(secret in said for secret in SECRETS)


def test_the_same_installation_without_a_mistake_is_loaded(site):
    done = site.cli("backup", "policies")
    assert (done.returncode, done.stderr) == (0, "")
    assert "app/files" in done.stdout
    assert not any(secret in done.stdout for secret in SECRETS)
    assert not (site.root / ".homelab").exists()
