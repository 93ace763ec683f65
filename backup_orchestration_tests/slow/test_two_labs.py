"""Acceptance: two example labs on one machine do not meet; `down` leaves no process, `--purge` nothing at all."""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from backup_orchestration.core.commands import Command, run
from backup_orchestration.devlab import postgres
from backup_orchestration.devlab.paths import devlab_of

pytestmark = [pytest.mark.tools, pytest.mark.slow, pytest.mark.usefixtures("restic")]


def homelab(directory, *arguments):
    argv = [sys.executable, "-m", "backup_orchestration.cli.main", *arguments]
    return run(Command(argv, 300, cwd=directory))


def described(directory):
    done = homelab(directory, "devlab", "status", "--json")
    return done.returncode, json.loads(done.stdout)


def processes_of(directory):
    """Every process that names the directory on its command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(directory).encode() in words:
            found.append(words)
    return found


def token_of(lab):
    return (Path(lab["home"]) / "secrets/gitlab-token").read_text().strip()


def version_of(lab, token=None):
    """What the lab's stand-in for GitLab says of its version, or its status."""
    url = f"{lab['services']['gitlab']['url']}/api/v4/version"
    request = urllib.request.Request(url, headers={"PRIVATE-TOKEN": token or token_of(lab)})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_two_labs_do_not_meet(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        done = homelab(directory, "devlab", "up")
        assert done.returncode == 0, done.stderr
    try:
        (code, one), (_, other) = described(first), described(second)
        assert code == 0
        sockets = [postgres.socket(devlab_of(directory)) for directory in (first, second)]
        assert [path.is_dir() for path in sockets] == [True, True]
        assert one["store"]["endpoint"] != other["store"]["endpoint"]
        assert one["ui_url"] != other["ui_url"]
        assert homelab(first, "backup", "run", "--target", "certs").returncode == 2  # a service is no target
        assert homelab(first, "backup", "run", "--target", "certs/ca").returncode == 0
        listed = [json.loads(homelab(directory, "backup", "list", "--json").stdout) for directory in (first, second)]
        assert [len(rows) for rows in listed] == [1, 0]
        assert (first / ".homelab/devlab/store/backups/restic-certs-ca/config").is_file()
        assert one["services"]["minio"]["url"] not in (other["services"]["minio"]["url"], one["store"]["endpoint"])
        assert (one["services"]["radicale"]["real"], one["services"]["gitlab"]["real"]) == (True, False)
        for described_lab in (one, other):
            assert version_of(described_lab) == {"version": "17.5.2-stand-in", "revision": "stand-in"}
            assert version_of(described_lab, "wrong") == 401
        assert version_of(one, token_of(other)) == 401
        again = homelab(first, "devlab", "up")
        assert (again.returncode, "started" in again.stdout) == (0, False)
    finally:
        assert homelab(first, "devlab", "down").returncode == 0
        left = processes_of(first)
        shut_down = (first / ".homelab/devlab/logs/postgres.log").read_text()
        assert homelab(second, "devlab", "down", "--purge").returncode == 0
    assert left == []
    assert "database system is shut down" in shut_down
    assert [path for path in sockets if path.exists()] == []
    assert processes_of(second) == []
    assert described(first)[0] == 1
    assert (first / ".homelab/devlab/store/backups/restic-certs-ca/config").is_file()
    assert list(second.iterdir()) == []
