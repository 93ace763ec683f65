"""Dagster's page and daemon on a site, started by the test, and what the page's buttons send."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

from kills import begin
from running import PASSED, family, wait_until

_WEBSERVER = "from dagster_webserver.cli import main; main()"
_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"
_JOBS = {"run": ("backups", ["app", "files"]), "restore-test": ("__ASSET_JOB", ["app", "files", "verified"])}


class Page:
    """The page and the daemon of a site; both end with the block."""

    def __init__(self, site, environment):
        self.site = site
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        env = {key: environment[key] for key in PASSED if key in environment}
        env |= {"DAGSTER_HOME": str(site.root / ".homelab" / "dagster"), "TMPDIR": str(site.root / "tmp")}
        argv = [sys.executable, "-c", _WEBSERVER, "-h", "127.0.0.1", "-p", str(self.port)]
        self.log = (site.root / "page.log").open("wb")
        self.server = subprocess.Popen(
            [*argv, "-m", "backup_orchestration.definitions"],
            cwd=site.root, env=env, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip
        self.daemon = begin(site, "run", "--schedule")

    def ask(self, query, **variables):
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def answers(self):
        try:
            return self.ask("{ version }")
        except OSError:
            return None

    def launch(self, verb, key):
        """What "Materialize" does; returns the run's id."""
        job, path = _JOBS[verb]
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "backup_orchestration.definitions",
            "pipelineName": job,
            "assetSelection": [{"path": path}],
            "assetCheckSelection": None if verb == "restore-test" else [],
        }
        tags = [{"key": "dagster/partition", "value": key}] if verb == "restore-test" else []
        params = {"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": {"tags": tags}}
        answer = self.ask(_LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def terminate(self, run):
        """What "Terminate" does."""
        return self.ask(_TERMINATE, run=run)["terminateRun"]["__typename"]

    def __enter__(self):
        wait_until(self.answers)
        return self

    def __exit__(self, *_):
        for process in (self.server, self.daemon.process):
            process.kill()
            process.wait()
        self.log.close()
        kill_all(self.site)


def kill_all(site):
    """Everything that works in the site's directory, at once: as when the machine loses its power."""
    for pid in family(site):
        os.kill(pid, signal.SIGSTOP)
    for pid in family(site):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not family(site))
