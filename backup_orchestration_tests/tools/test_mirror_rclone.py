"""Mirrors on rclone's S3 server, the example lab's store: objects are plain files there, and not all can be held."""

import os

import pytest
from faulty_store import S3Server

from backup_orchestration.core import tools
from backup_orchestration.core.errors import StoreError
from backup_orchestration.devlab.needs import RCLONE
from backup_orchestration.providers.mirror import copying
from backup_orchestration_tests.conftest import needed
from backup_orchestration_tests.mirrors import MirrorSite

# What it holds of the oddities; what else there is, other tests have on moto.
HELD = (
    "plain.txt", "a b+c", "100%25", "50%", "what?&so#on=", "\u00e9", "e\u0301", "日本/語", "😀", "tab\there",
    "quo'te\"<&>", "back\\slash", "trailing ", "two\nlines", ".hidden", "..x/dot.", f"{'long' * 50}/{'key' * 60}",
)  # fmt: skip


@pytest.fixture(scope="module")
def rclone(tmp_path_factory):
    path = needed(lambda: tools.find(RCLONE).path)
    root = tmp_path_factory.mktemp("rclone") / "objects"
    root.mkdir()
    server = S3Server(str(path), root)
    server.url = f"http://127.0.0.1:{server.port}"
    yield server
    server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["on the server", "through here"])
def test_what_it_holds_comes_back(tmp_path, rclone, host):
    mirror = MirrorSite(tmp_path, rclone.url)
    for number, key in enumerate(HELD):
        mirror.put(key, os.urandom(50 + number), ContentType=f"text/x-{number}", Metadata={"number": str(number)})
    mirror.put("empty.txt", b"")
    mirror.put("large.bin", os.urandom(9 << 20))
    mirror.configure(source_url=rclone.url.replace("127.0.0.1", host))
    snapshot = mirror.backup()
    assert snapshot.counts["objects"] == len(HELD) + 2
    evidence = mirror.restore_test()
    assert evidence.passed, evidence.reason
    file = rclone.root / mirror.backups / mirror.prefix(snapshot) / "data" / "plain.txt"
    file.write_bytes(b"x" * file.stat().st_size)
    evidence = mirror.restore_test()
    assert evidence.reason.startswith("restore: 'plain.txt' has other bytes")


def test_metadata_that_changes_during_the_copy_is_seen(tmp_path, rclone, monkeypatch):
    """This server gives a copy what its source has by then as well, whatever it is told."""
    mirror, body, met = MirrorSite(tmp_path, rclone.url), b"x" * 100_000, []
    mirror.put("k", body, Metadata={"m": "1"})
    real = copying._Copier._attributes

    def attributes(self, task, answer):
        found = real(self, task, answer)
        if not met:
            mirror.put("k", body, Metadata={"m": "1", "n": "2"})
            met.append(task.key)
        return found

    monkeypatch.setattr(copying._Copier, "_attributes", attributes)
    mirror.backup()
    evidence = mirror.restore_test()
    assert evidence.passed, evidence.reason


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ({"a": {}, "a/b": {}, "b": {}}, "cannot hold 'a' beside 'a/'"),
        ({"tagged": {"Tagging": "one=1"}}, "'tagged'.*keeps no tags"),
        ({"x/../y": {}}, "'x/../y'"),
    ],
)
def test_what_it_cannot_hold_is_an_error_that_names_the_key(tmp_path, moto, rclone, objects, says):
    mirror = MirrorSite(tmp_path, moto.url, rclone.url)
    for key, more in objects.items():
        mirror.put(key, key.encode(), **more)
    with pytest.raises(StoreError, match=says):
        mirror.backup()
    assert mirror.repository.snapshots() == []
