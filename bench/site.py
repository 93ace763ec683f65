"""Installations to measure, made as a person makes them, and the restic that they use."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from backup_orchestration.core import tools
from backup_orchestration.providers._restic_cli import RESTIC
from bench.measure import Taken, run

HOMELAB = Path(sys.executable).with_name("homelab")

_SETTINGS = """\
contributors = ["./services.py"]
[destinations.default]
location = "backups"
password = { file = "secrets/password" }
[evidence]
location = "evidence"
key = { file = "secrets/evidence-key" }
"""

_SERVICES = """\
from pathlib import Path
from backup_orchestration import BackupPolicy, Files

class Services:
    def policies(self):
        return [BackupPolicy(target=f"app/{{name}}", source=Files(path=Path({data!r}, name))) for name in {names!r}]

contributor = Services()
"""


@dataclass(frozen=True)
class Site:
    """An installation with one target for each name, `app/<name>`, whose data is `data/<name>`."""

    root: Path

    @property
    def password(self) -> Path:
        """File with the password of every repository."""
        return self.root / "secrets" / "password"

    def repository(self, name: str) -> Path:
        """Where the snapshots of `app/<name>` lie."""
        return self.root / "backups" / f"restic-app-{name}"

    def homelab(self, *arguments: str, env: Mapping[str, str] | None = None) -> Taken:
        """Run the command in it."""
        return run([HOMELAB, *arguments], cwd=self.root, env=env)


def make_site(root: Path, names: Sequence[str]) -> Site:
    """Make an installation; `data/` and the repositories are the caller's."""
    (root / "secrets").mkdir(parents=True)
    (root / "secrets" / "password").write_text("of the bench\n")
    (root / "secrets" / "evidence-key").write_text("another one\n")
    (root / "homelab.toml").write_text(_SETTINGS)
    (root / "services.py").write_text(_SERVICES.format(data=str(root / "data"), names=list(names)))
    return Site(root)


def restic() -> Path:
    """The restic that homelab uses."""
    return tools.find(RESTIC).path


def make_repositories(site: Site, places: Sequence[Path]) -> None:
    """Give every rival the same empty repository: what opening one costs is measured by restic when it is made."""
    first, *others = places
    run([restic(), "init"], env={"RESTIC_REPOSITORY": str(first), "RESTIC_PASSWORD_FILE": str(site.password)})
    for place in others:
        shutil.copytree(first, place)


def opening(repository: Path, password: Path) -> str:
    """What it costs to open a repository: most of every call of restic, and less if it was made on a busy machine."""
    env = {"RESTIC_REPOSITORY": str(repository), "RESTIC_PASSWORD_FILE": str(password)}
    costs = [run([restic(), "cat", "config", "--no-lock", "--no-cache"], env=env).cpu for _ in range(3)]
    return f"opening a repository costs restic {median(costs):.2f} s of processor time"


def restic_verbs(site: Site, *arguments: str) -> list[str]:
    """What a homelab command calls restic for, in order, as a restic that writes down its calls has seen it."""
    directory = site.root / "recording"
    directory.mkdir()
    calls = directory / "calls"
    recorder = directory / "restic"
    recorder.write_text(f'#!/bin/sh\necho "$*" >>{calls}\nexec {restic()} "$@"\n')
    recorder.chmod(recorder.stat().st_mode | stat.S_IXUSR)
    site.homelab(*arguments, env={"HOMELAB_TOOLS": str(directory)})
    lines = calls.read_text().splitlines()
    shutil.rmtree(directory)
    return [next(word for word in line.split() if not word.startswith("-")) for line in lines]


def write_random(path: Path, size: int) -> None:
    """A file that neither compresses nor deduplicates."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - start)))
