"""Every tool replaced by one that does nothing and ends with exit code 0: the real command line fails everywhere."""

import json
import re

import pytest

from backup_orchestration.core import tools

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

COMMANDS = {
    "run": ("backup", "run", "--all"),
    "restore-test": ("backup", "restore-test", "--all"),
    "prune": ("backup", "prune", "--all"),
    "list": ("backup", "list", "--json"),
    "status": ("backup", "status", "--json"),
}


@pytest.fixture(params=["nothing", "version"])
def liars(request, tmp_path_factory, new_site):
    """A directory with every tool that a provider needs; in the second one they answer for their version."""
    directory = tmp_path_factory.mktemp("liars")
    any_site = new_site(tmp_path_factory.mktemp("any"))
    needed = [tool for found in any_site.homelab.providers.values() for tool in found.part.tools]
    assert needed
    for tool in needed:
        said = re.sub(r"\(.*\)", tools.dotted(tool.minimum), tool.version_pattern)
        answer = f"echo '{said} compiled with go1.25 on linux/amd64'"
        asked = " ".join(tool.version_arguments)
        known = f'[ "$*" = "{asked}" ] && {answer}\n' if request.param == "version" else ""
        (directory / tool.name).write_text(f"#!/bin/sh\n{known}exit 0\n")
        (directory / tool.name).chmod(0o755)
    if request.param == "version":
        for tool in needed:
            assert tools.find(tool, {"HOMELAB_TOOLS": str(directory)}).version == tool.minimum
    return {"HOMELAB_TOOLS": str(directory)}


def state(site):
    """All that a lie could have made: repositories, evidence, labs."""
    places = ("backups", "evidence", ".homelab/labs", ".homelab/staging")
    return {path: path.read_bytes() for place in places for path in (site.root / place).rglob("*") if path.is_file()}


@pytest.mark.parametrize("verb", ["run", "list", "status"])
def test_where_there_was_nothing(site, liars, verb):
    done = site.cli(*COMMANDS[verb], env=liars)
    assert done.returncode == 1, done.stdout + done.stderr
    assert state(site) == {}
    assert _says_nothing_is_safe(verb, done)


@pytest.mark.parametrize("verb", COMMANDS)
def test_where_a_snapshot_was_verified_before(kept, liars, verb):
    before = state(kept)
    done = kept.cli(*COMMANDS[verb], env=liars)
    assert done.returncode == 1, done.stdout + done.stderr
    assert state(kept) == before
    assert _says_nothing_is_safe(verb, done)
    assert kept.homelab.evidence().ledger("app/files", "default").records[-1].sequence == 1


def _says_nothing_is_safe(verb, done):
    if verb == "list":
        return json.loads(done.stdout) == [] and "failed" in done.stderr
    if verb == "status":
        (row,) = json.loads(done.stdout)
        return row["protection"] != "fresh" and row["recovery_point_at"] is None and bool(row["reason"])
    return "passed" not in done.stdout and "snapshot 2" not in done.stdout and "app/files: failed" in done.stderr


@pytest.mark.parametrize("verb", ["list", "status"])
def test_with_the_real_tool_the_same_place_is_fine(kept, verb):
    """What the tests above find broken is the tool and nothing else."""
    done = kept.cli(*COMMANDS[verb])
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(done.stdout)) == 1
