"""`homelab devlab demo`, played in an empty directory with the real restic."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.tools]

WORDS = [
    "$ homelab backup run --all",
    "minio/registry: snapshot 20",
    "$ homelab backup restore-test --all",
    "restore test passed",
    "$ homelab backup status",
    "(exit code 0)",
    "(flipped one bit of store/backups/restic-gitlab-config/data/",
    "restore test failed: restore: ",
    "protection: suspect; nothing is pruned",
    "testing the recovery point 20",
    "restore test passed",
    "protection: fresh, recovery point 20",
    "(exit code 1)",
    "$ restic repair packs",
    "$ homelab backup run --target gitlab/config --reread",
    "restore test passed",
    "(flipped one bit of store/backups/minio-registry/20",
    "/data/docker/registry/v2/blobs/sha256/",
    "restore test failed: ",
    "docker/registry/v2/blobs/sha256/",
    "(exit code 1)",
    "$ cp services/minio/registry/docker/registry/v2/blobs/sha256/",
    "restore test passed",
    "$ homelab backup status",
    "APPLICATION",
    "(exit code 0)",
    "All is fresh, and the lab is up",
]


def in_order(text, words):
    """The first word that does not follow those before it; None if all do."""
    place = 0
    for word in words:
        found = text.find(word, place)
        if found < 0:
            return word
        place = found + len(word)
    return None


def test_it_plays_again_after_one_that_was_broken_off(site, restic, start, until):
    for path in (site.root / "homelab.toml", site.root / "services.py"):
        path.unlink()
    first = start("devlab", "demo")
    try:
        until(lambda: "backup restore-test --all" in first.out.read_text(), 200)
        first.process.terminate()
        assert first.end() != 0
        demo = start("devlab", "demo")
        assert demo.end(600) == 0, demo.said()[-3000:]
        assert in_order(demo.out.read_text(), WORDS) is None
        # The lab's settings are found without a variable; and all is fresh, as it said.
        done = site.cli("backup", "status", "--json")
        assert done.returncode == 0 and done.stdout.count('"protection": "fresh"') == 13
        (gitlab,) = json.loads(site.cli("backup", "status", "--applications", "--json").stdout)
        assert len(gitlab["members"]) == len(gitlab["snapshots"]) == 5 and gitlab["held_back_by"] is None
        assert not list((site.root / ".homelab" / "devlab" / "labs").iterdir())
    finally:
        assert site.cli("devlab", "down", "--purge").returncode == 0
    assert not (site.root / ".homelab").exists()
