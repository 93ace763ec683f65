"""A restic whose every answer is written down beforehand, and whose every call is written down."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# Its version is asked besides: quickly answered.
SCRIPT = """\
#!/bin/sh
if [ "$*" = version ]; then
    env >> {here}/version-environments
    exec cat {here}/version
fi
exec {python} -IS {here}/fake_restic.py "$@"
"""


@dataclass(frozen=True)
class Call:
    verb: str
    argv: list
    env: dict
    password: dict | None

    def option(self, name):
        """Every value of an option."""
        return [self.argv[at + 1] for at, word in enumerate(self.argv) if word == name]


@dataclass(frozen=True)
class FakeRestic:
    directory: Path

    def answer(self, **table):
        """What the next calls of each verb get, one answer after the other; see `fake_restic.py`."""
        (self.directory / "answers.json").write_text(json.dumps(table))
        (self.directory / "calls.jsonl").unlink(missing_ok=True)

    def calls(self, verb=None):
        path = self.directory / "calls.jsonl"
        calls = [Call(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in calls if verb in (None, call.verb)]

    def verbs(self):
        return [call.verb for call in self.calls()]

    def version_environments(self):
        return (self.directory / "version-environments").read_text()

    def snapshot(self, site, **changes):
        """What restic would list of a snapshot of `app/files`, changed; `...` leaves a field out."""
        snapshot = {
            "id": "5" * 64,
            "time": "2026-11-23T02:00:03Z",
            "paths": [str(site.root / "data"), str(site.root / ".homelab/staging/app-files/homelab-manifest.jsonl")],
            "tags": ["target=app/files", "run=run", f"repository={'a' * 64}"],
            "summary": {"total_files_processed": 3, "total_bytes_processed": 100},
        }
        return {key: value for key, value in {**snapshot, **changes}.items() if value is not ...}

    def seed(self, site, *snapshots):
        """A repository that is there already, with these snapshots."""
        path = site.root / "backups" / "restic-app-files" / "fake.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"id": "a" * 64, "snapshots": snapshots}))

    def stored(self, site, target="app/files"):
        """What the repository of a target holds."""
        path = site.root / "backups" / f"restic-{target.replace('/', '-')}" / "fake.json"
        return json.loads(path.read_text())["snapshots"] if path.exists() else []


@pytest.fixture
def fake(tmp_path_factory, monkeypatch):
    """The only tool that is found."""
    directory = tmp_path_factory.mktemp("bin")
    (directory / "fake_restic.py").write_bytes(Path(__file__).with_name("fake_restic.py").read_bytes())
    (directory / "version").write_text("restic 0.18.0 compiled with go1.24.4 on linux/amd64\n")
    tool = directory / "restic"
    tool.write_text(SCRIPT.format(here=directory, python=sys.executable))
    tool.chmod(0o755)
    monkeypatch.setenv("HOMELAB_TOOLS", str(directory))
    return FakeRestic(directory)
