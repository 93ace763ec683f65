"""A restore test that is stopped: restic takes its lock away, and nothing of the lab is left."""

import os
import signal
import subprocess
import sys
import time

import pytest

from backup_orchestration.core.errors import CommandTimeoutError
from backup_orchestration.providers import _restic_cli

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


@pytest.fixture
def stuck(kept):
    """A repository whose packs never answer: restic holds its lock and waits. Let go of at the end."""
    holders = []
    for pack in kept.packs():
        pack.parent.chmod(0o700)
        pack.unlink()
        os.mkfifo(pack)
    yield kept
    for pack in (path for path in (kept.root / "backups").rglob("*") if path.is_fifo()):
        holders.append(os.open(pack, os.O_RDWR | os.O_NONBLOCK))
    for holder in holders:
        os.close(holder)


def locks(site):
    return list((site.root / "backups" / "restic-app-files" / "locks").iterdir())


def labs(site):
    return list((site.root / ".homelab" / "labs").iterdir())


def records(site):
    return len(site.homelab.evidence().ledger("app/files", "default").records)


def test_by_its_time_running_out(stuck, monkeypatch):
    monkeypatch.setattr(_restic_cli, "_TRANSFER_SECONDS", 1.5)
    with pytest.raises(CommandTimeoutError):
        stuck.restore_test()
    assert locks(stuck) == []
    assert labs(stuck) == []
    assert records(stuck) == 1


def test_by_sigterm_to_the_command(stuck):
    argv = [sys.executable, "-m", "backup_orchestration.cli.main", "backup", "restore-test", "--all"]
    running = subprocess.Popen(argv, cwd=stuck.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with running:
        until(lambda: list((stuck.root / ".homelab").glob("labs/*/data")) and locks(stuck), running)
        time.sleep(0.3)  # restic looks at its lock again before it begins
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=60)[0]
    assert running.returncode == 1, said
    assert locks(stuck) == []
    assert labs(stuck) == []
    assert records(stuck) == 1


def until(condition, running):
    deadline = time.monotonic() + 60
    while not condition():
        assert running.poll() is None, running.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
