"""The example lab with one more target, and what a test does with it."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from dataclasses import dataclass
from datetime import timedelta

from webhook import Webhook

from backup_orchestration.core.commands import Command, run
from backup_orchestration.devlab.paths import DevlabPaths
from backup_orchestration.homelab.load import Homelab, load

LOCATION = "backup_orchestration.definitions"
RPO = timedelta(hours=36)
POLICY = """\
from datetime import timedelta
from pathlib import Path
from backup_orchestration import BackupPolicy, Files
class App:
    def policies(self):
        files = Files(path=Path(__file__).parent / "data")
        return [BackupPolicy(target="app/files", source=files, rpo=timedelta(hours=36))]
contributor = App()
"""


_SCHEDULES = """
query ($repository: RepositorySelector!) {
  schedulesOrError(repositorySelector: $repository) { ... on Schedules { results { scheduleState { id } } } }
}"""
_CHAINS = """
query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { id } } } }"""
_STOP_SENSOR = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
_STOP_SCHEDULE = "mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }"


@dataclass
class Lab:
    """A lab that is up."""

    paths: DevlabPaths
    url: str
    webhook: Webhook

    @property
    def homelab(self) -> Homelab:
        return load(self.paths.settings, {})

    def cli(self, *arguments, expect=0):
        """Run a command in the lab's directory."""
        argv = [sys.executable, "-m", "backup_orchestration.cli.main", *arguments]
        passed = {key: os.environ[key] for key in ("HOMELAB_TOOLS", "XDG_DATA_HOME") if key in os.environ}
        done = run(Command(argv, 300, passed, self.paths.home.parent.parent))
        assert expect in (..., done.returncode), done.stdout + done.stderr
        return done.stdout

    def status(self, target):
        """The row of `status --json`."""
        (row,) = json.loads(self.cli("backup", "status", "--target", target, "--json", expect=...))
        return row

    def listed(self, target):
        """The rows of `list --json`."""
        return json.loads(self.cli("backup", "list", "--target", target, "--json"))

    def take(self, target, size=0):
        """A snapshot by the command line, of a new file of this size besides; returns its key."""
        if size:
            source = self.homelab.policy(target).source.path
            (source / f"new-{os.urandom(4).hex()}").write_bytes(os.urandom(size))
        self.cli("backup", "run", "--target", target)
        return self.homelab.repository(target).latest().key

    def packs(self, target):
        """Data files of a target's repository."""
        return {path for path in (self.paths.repository(target) / "data").rglob("*") if path.is_file()}

    def take_damaged(self, target):
        """A snapshot that does not restore: one bit is flipped in what only it uses."""
        before = self.packs(target)
        key = self.take(target, size=200_000)
        pack = max(self.packs(target) - before, key=lambda path: path.stat().st_size)
        content = bytearray(pack.read_bytes())
        content[len(content) // 3] ^= 1
        pack.write_bytes(content)
        return key

    def stop_schedules(self):
        """So that nothing runs but what a test asks for, whatever the time of day."""
        repository = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
        found = self.ask(_SCHEDULES, repository=repository)
        for schedule in found["schedulesOrError"]["results"]:
            self.ask(_STOP_SCHEDULE, id=schedule["scheduleState"]["id"])
        chains = self.ask(_CHAINS, sensor={**repository, "sensorName": "chains"})
        self.ask(_STOP_SENSOR, id=chains["sensorOrError"]["sensorState"]["id"])

    def ask(self, query, **variables):
        """Ask Dagster's page as its own JavaScript does."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]


def until(found, what, seconds=240):
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.5)
    return value
