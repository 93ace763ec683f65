"""The command line and a real daemon that write into the same repositories; the time in a provider is recorded."""

import os
import time
from contextlib import contextmanager

from fakes import behave, make_fake, policy, records
from running import Started, wait_until

# The real restic, with the time that it works in a repository written down; otherwise what `restic` is.
RECORDING = """
import json, os, time
from pathlib import Path
from backup_orchestration.providers.restic import Restic, ResticRepository

SPANS = Path(__file__).parent / "spans.jsonl"

class Recording(Restic):
    name = "recording"

    def open(self, policy, destination, around):
        return Recorded(policy, destination, around, self.location(policy, destination))

class Recorded(ResticRepository):
    def backup(self, spec, progress):
        started = time.monotonic()
        with (SPANS.parent / "started.jsonl").open("a") as file:
            file.write(json.dumps({"target": self._policy.target, "pid": os.getpid()}) + "\\n")
        try:
            return super().backup(spec, progress)
        finally:
            row = {"target": self._policy.target, "pid": os.getpid(), "start": started, "end": time.monotonic()}
            with SPANS.open("a") as file:
                file.write(json.dumps(row) + "\\n")
"""
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""


def overlap(one, other):
    return one["start"] < other["end"] and other["start"] < one["end"]


class Writers:
    """A site with the targets `app/files` and `app/other`, kept by the fake provider, and `app/real`, by restic.

    A backup of `app/files` and of `app/real` lasts until the file `leave` is there. Dagster's pools are wide open, or
    the daemon would keep a run in its queue while it knows of another one: only the lock stands between them.
    """

    def __init__(self, site, dagster_home, start_repository):
        self.site = site
        self.leave = site.root / "leave"
        self.said = []
        command = ("sh", "-c", f"until [ -e {self.leave} ]; do sleep 0.05; done; date")
        dump = f'Dump(command={command!r}, filename="app.sql")'
        real = f'BackupPolicy(target="app/real", provider="recording", source={dump})'
        make_fake(site, policy("app/files"), policy("app/other"), home=dagster_home)
        settings = site.root / "homelab.toml"
        settings.write_text(settings.read_text().replace('Fake"]', 'Fake", "./recording.py:Recording"]', 1))
        (site.root / "recording.py").write_text(RECORDING)
        site.declare(policy("app/files"), policy("app/other"), real)
        start_repository(site, "app/real")
        configuration = site.root / ".homelab" / "dagster" / "dagster.yaml"
        assert "default_limit: 1\n" in configuration.read_text()
        configuration.write_text(configuration.read_text().replace("default_limit: 1\n", "default_limit: 9\n"))
        behave(site, app_files={"until": str(self.leave)})

    @contextmanager
    def daemon(self):
        """`homelab backup run --schedule`, and a queue to put runs into."""
        from dagster._core.workspace.context import WorkspaceProcessContext
        from dagster._core.workspace.load_target import ModuleTarget

        from backup_orchestration.orchestration.instance import open_instance

        daemon = Started(self.site, "backup", "run", "--schedule")
        before = os.environ.get("HOMELAB_SETTINGS")
        os.environ["HOMELAB_SETTINGS"] = str(self.site.root / "homelab.toml")
        try:
            with open_instance(self.site.homelab) as instance:
                target = ModuleTarget("backup_orchestration.definitions", None, str(self.site.root), None)
                with WorkspaceProcessContext(instance, target) as process:
                    self._process, self._instance = process, instance
                    yield daemon
        finally:
            os.environ.pop("HOMELAB_SETTINGS")
            if before is not None:
                os.environ["HOMELAB_SETTINGS"] = before
            daemon.process.terminate()
            daemon.end(60)

    def queue(self, target):
        """Put a backup into the daemon's queue, as the page's button does."""
        from dagster_graphql.test.utils import execute_dagster_graphql

        context = self._process.create_request_context()
        (location,) = context.code_locations
        (repository,) = location.get_repositories().values()
        selector = {
            "repositoryLocationName": location.name,
            "repositoryName": repository.name,
            "jobName": "backups",
            "assetSelection": [{"path": target.split("/")}],
        }
        answer = execute_dagster_graphql(
            context, LAUNCH, variables={"params": {"selector": selector, "mode": "default"}}
        )
        launched = answer.data["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return Queued(self._instance, launched["run"]["runId"])

    def command(self, target):
        """Back it up from the command line."""
        return Typed(Started(self.site, "backup", "run", "--target", target))

    def end(self, *runs):
        """Wait for runs to end, and well."""
        wait_until(lambda: all(run.over() for run in runs), 180)
        assert all(run.succeeded() for run in runs), [run.told() for run in runs]

    def round(self, target, first, second):
        """One begins, the other comes while it is inside; whether the second was heard to wait."""
        self.leave.unlink(missing_ok=True)
        begun, done = len(records(self.site, "started.jsonl")), len(records(self.site, "spans.jsonl"))
        one = first(target)
        wait_until(lambda: len(records(self.site, "started.jsonl")) > begun or one.over(), 180)
        other = second(target)
        wait_until(lambda: other.waits() or other.over() or len(records(self.site, "started.jsonl")) > begun + 1, 180)
        waited = other.waits()
        time.sleep(0.3)  # long enough for one that does not wait to get in
        self.leave.touch()
        self.end(one, other)
        assert not one.waits()
        spans = records(self.site, "spans.jsonl")[done:]
        assert len(spans) == 2
        assert spans[0]["pid"] != spans[1]["pid"]
        return waited, overlap(*spans)


class Typed:
    """A run of the command line."""

    def __init__(self, started):
        self._started = started

    def over(self):
        return self._started.process.poll() is not None

    def succeeded(self):
        return self._started.end() == 0

    def told(self):
        return self._started.said()

    def waits(self):
        return "is in use; waiting for it" in self.told()


class Queued:
    """A run of the daemon."""

    def __init__(self, instance, run_id):
        self._instance, self._run_id = instance, run_id

    def over(self):
        return self._instance.get_run_by_id(self._run_id).is_finished

    def succeeded(self):
        return self._instance.get_run_by_id(self._run_id).is_success

    def told(self):
        return "\n".join(entry.user_message for entry in self._instance.all_logs(self._run_id))

    def waits(self):
        return "is in use; waiting for it" in self.told()


def play(writers, rounds):
    """So many rounds, in turn the command line and the daemon first, every fourth on the real restic.

    Returns how many of them overlapped, and in how many the second was heard to wait.
    """
    overlaps = waits = 0
    for number in range(rounds):
        order = (writers.command, writers.queue) if number % 2 else (writers.queue, writers.command)
        waited, overlapped = writers.round("app/real" if number % 4 == 2 else "app/files", *order)
        waits += waited
        overlaps += overlapped
    return overlaps, waits
