"""Command lines on sites of the fake provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from fakes import make_fake, policy


@pytest.fixture
def fake(site, dagster_home):
    """One target, `app/files`, backed up by the fake provider."""
    return make_fake(site, home=dagster_home)


@pytest.fixture
def make(site, dagster_home):
    """A site of these targets."""
    return lambda *targets: make_fake(site, *map(policy, targets), home=dagster_home)


class Said:
    """How a command ended in this process."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def say(site, monkeypatch, capsys):
    """Run a command in this process, in the site's directory: for commands that start no worker.

    It goes through the same entry point as the real command, `main`.
    """
    from backup_orchestration.cli import main

    monkeypatch.chdir(site.root)
    monkeypatch.setenv("DAGSTER_HOME", "")

    def run(*arguments, settings=""):
        capsys.readouterr()
        monkeypatch.setenv("HOMELAB_SETTINGS", str(settings))
        monkeypatch.setattr(sys, "argv", ["homelab", *arguments])
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = end.code
        return Said(code or 0, *capsys.readouterr())

    return run


class Started:
    """A command that runs beside the test, in a session of its own."""

    def __init__(self, site, *arguments):
        self.site = site
        self.out, self.err = (site.root / f"{name}-{os.urandom(4).hex()}" for name in ("out", "err"))
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backup_orchestration.cli.main", *arguments],
                cwd=site.root, stdout=out, stderr=err, start_new_session=True,
                env={key: os.environ[key] for key in ("PATH", "HOME", "HOMELAB_TOOLS") if key in os.environ},
            )  # fmt: skip

    def end(self, seconds=150):
        """Wait for its exit code."""
        return self.process.wait(seconds)

    def said(self):
        return self.out.read_text() + self.err.read_text()


@pytest.fixture
def start(site):
    """Start a command; what still runs after the test is killed."""
    begun = []

    def run(*arguments):
        begun.append(Started(site, *arguments))
        return begun[-1]

    yield run
    for item in begun:
        if item.process.poll() is None:
            item.process.kill()
            item.process.wait()


@pytest.fixture
def until():
    """Wait for something to become true, and return it."""

    def wait(condition, seconds=90):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)
        return found

    return wait
