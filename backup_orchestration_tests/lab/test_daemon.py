"""Acceptance: the daemon alone takes a snapshot, proves it, and tells of a defect. Real daemon, real webhook."""

import os
import signal
import subprocess
import sys
import time

import pytest
from webhook import listening

from backup_orchestration.core.errors import HomelabError

pytestmark = [pytest.mark.tools, pytest.mark.slow, pytest.mark.usefixtures("restic")]

POLICY = (
    'BackupPolicy(target="app/files", source=Files(path=str(HERE / "data")), cron="* * * * *",'
    ' restore_test=RestoreTest(cron="* * * * *"))'
)
AFTER = (
    'BackupPolicy(target="app/more", source=Files(path=str(HERE / "data")), cron="* * * * *", after="app/files",'
    ' restore_test=RestoreTest(cron="0 0 1 1 *"))'
)
LIMIT_SECONDS = 240


@pytest.fixture
def webhook():
    with listening() as server:
        yield server


def until(deadline, what, found):
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(1)
    raise AssertionError(f"not within {LIMIT_SECONDS} s: {what}")


def test_the_daemon_alone_backs_up_proves_and_tells(site, webhook):
    settings = (site.root / "homelab.toml").read_text()
    (site.root / "secrets" / "url").write_text(f"{webhook.url}?token=canary-0815")
    (site.root / "homelab.toml").write_text(f'{settings}[notifications.test]\nurl = {{ file = "secrets/url" }}\n')
    site.declare(POLICY, AFTER)
    (site.root / "data" / "large").write_bytes(os.urandom(200_000))
    argv = [sys.executable, "-m", "backup_orchestration.cli.main", "backup", "run", "--schedule"]
    log = (site.root / "daemon.log").open("wb")
    deadline = time.monotonic() + LIMIT_SECONDS
    daemon = subprocess.Popen(argv, cwd=site.root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        verified = until(deadline, "a verified snapshot", lambda: _verified(site))
        second = until(deadline, "a snapshot of the target that comes after", lambda: _first(site, "app/more"))
        damage(site)
        failed = until(deadline, "the alert", lambda: events(webhook, "restore test failed"))
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait(30)
        log.close()
    assert verified
    assert second.taken_at >= _first(site, "app/files").finished_at
    assert failed[0]["target"] == "app/files"
    assert "damaged or missing in the repository" in failed[0]["reason"]
    assert b"canary-0815" not in (site.root / "daemon.log").read_bytes()


def events(webhook, kind):
    return [event for event in webhook.events if event["event"] == kind]


def _first(site, target):
    """Its first snapshot, if there is one yet."""
    try:
        return site.homelab.repository(target).snapshots()[0]
    except (HomelabError, IndexError):
        return None  # the repository is being made


def _verified(site):
    try:
        point = site.judge().recovery_point
    except HomelabError:
        return None  # the repository is being made
    return point


def damage(site):
    """In every snapshot's largest pack, so that whichever is tested next is red."""
    pack = max(site.packs(), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
