"""Command lines on sites of the fake provider."""

from __future__ import annotations

import json
import sys

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
