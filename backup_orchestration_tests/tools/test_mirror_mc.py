"""The engine `mc`, played by one that lies: what it says counts for nothing, what it made is compared."""

import json
import signal
import sys
from pathlib import Path

import pytest

from backup_orchestration.core.errors import (
    CommandFailedError,
    PolicyError,
    ToolLiedError,
    ToolMissingError,
)
from backup_orchestration.operations.backup import backup
from backup_orchestration.providers.mirror.mc import MC
from backup_orchestration_tests.mirrors import KEY, SECRET, MirrorSite

FAKE = Path(__file__).with_name("fake_mc.py")


@pytest.fixture
def mc(tmp_path, monkeypatch):
    """Tells the fake how to behave; `mc()` afterwards gives what it has seen."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("HOMELAB_TOOLS", str(tools))

    def behave(does=None, **more):
        if does is None:
            return json.loads((tools / "seen.json").read_text())
        (tools / "mc").write_text(f"#!{sys.executable} -I\n" + FAKE.read_text())
        (tools / "mc").chmod(0o755)
        (tools / "behave.json").write_text(json.dumps({"does": does, **more}))
        return None

    return behave


@pytest.fixture
def mirror(tmp_path, moto):
    root = tmp_path / "site"
    root.mkdir()
    site = MirrorSite(root, moto.url, more=', engine="mc"')
    for number in range(6):
        site.put(f"k/{number}", f"body {number}".encode(), Metadata={"n": str(number)}, Tagging=f"t={number}")
    return site


def through_here(mirror, moto):
    """Another name of the same server is another endpoint."""
    mirror.configure(source_url=moto.url.replace("127.0.0.1", "localhost"), more=', engine="mc"')


def taken(mirror):
    """The snapshot, and the lines that its run told."""
    lines = []
    snapshot = backup(mirror.homelab, "app/files", "run", lambda update: lines.append(update.message))
    return snapshot, " ".join(lines)


def require_whole(mirror, snapshot):
    before = mirror.everything(mirror.client, mirror.source)
    after = mirror.everything(mirror.store, mirror.backups, mirror.prefix(snapshot) + "data/")
    assert after == before
    assert mirror.restore_test().passed


def test_what_it_copied_well_is_taken(mirror, mc):
    mc("all")
    snapshot, said = taken(mirror)
    assert snapshot.counts["by_mc"] == snapshot.counts["objects"] == 6
    assert said.strip() == "mc copied 6 of 6 objects"
    require_whole(mirror, snapshot)
    assert mirror.repository.snapshots() == [snapshot]


@pytest.mark.parametrize(
    ("does", "copied", "says"),
    [
        (
            "half",
            3,
            "mc copied 3 of 6 objects; the others were copied here, the first is 'k/1'; mc said: Failed to copy. why",
        ),
        ("no metadata", 0, "mc copied 0 of 6 objects; the others were copied here, the first is 'k/0'"),
    ],
)
@pytest.mark.parametrize("code", [0, 1])
def test_what_it_left_out_or_lost_is_copied_here_and_said(mirror, mc, does, copied, says, code):
    mc(does, code=code)
    snapshot, said = taken(mirror)
    assert snapshot.counts["by_mc"] == copied
    assert said.strip().startswith(says)
    require_whole(mirror, snapshot)


@pytest.mark.parametrize("way", ["on the server", "through here"])
@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("nothing", "made nothing"),
        ("another key", "made 6 others"),
        ("zero bytes", "'k/0': mc made a copy that has other bytes"),
        ("other bytes", "'k/0': mc made a copy that has other bytes"),
    ],
)
def test_a_lie_is_no_snapshot(mirror, mc, moto, does, says, way):
    if way == "through here":
        through_here(mirror, moto)
    mc(does)
    with pytest.raises(ToolLiedError, match=says):
        mirror.backup()
    assert mirror.repository.snapshots() == []
    assert not [key for key in mirror.stored() if "other-" in key]


def test_one_strange_key_among_good_ones_is_removed(mirror, mc, monkeypatch):
    """As mc does with a key that begins with a slash."""
    mc("all")
    from backup_orchestration.providers.mirror.mc import McMirror

    real = McMirror.copy

    def copy(self, **how):
        start = self._destination.key("data/")
        mirror.store.put_object(Bucket=mirror.backups, Key=f"{start}nobody asked", Body=b"")
        return real(self, **how)

    monkeypatch.setattr(McMirror, "copy", copy)
    snapshot, _ = taken(mirror)
    assert snapshot.counts["by_mc"] == 6
    require_whole(mirror, snapshot)


def test_parts_that_it_joined_otherwise_are_read_once(mirror, mc, small_parts):
    mirror.put_parts("parts", [5000, 5000, 100], ContentType="video/x", Metadata={"m": "1"}, Tagging="t=1")
    mc("all")
    snapshot, said = taken(mirror)
    assert snapshot.counts["by_mc"] == 7, said
    assert mirror.restore_test().passed


def test_parts_with_other_bytes_are_a_lie(mirror, mc, small_parts):
    mirror.put_parts("parts", [5000, 5000, 100])
    mc("other bytes", only="parts")
    with pytest.raises(ToolLiedError, match="'parts': mc made a copy that has other bytes"):
        mirror.backup()


def test_below_a_folder_only(mirror, mc):
    mc("all")
    mirror.put("other", b"not asked for")
    mirror.configure(more=', engine="mc", prefix="k/"')
    snapshot, _ = taken(mirror)
    assert snapshot.counts["by_mc"] == snapshot.counts["objects"] == 6


def test_a_prefix_that_is_no_folder_is_refused(mirror, mc):
    with pytest.raises(PolicyError, match=r"services\.py.*prefix.*end it with '/'"):
        assert mirror.configure(more=', engine="mc", prefix="k"').homelab


def test_an_object_that_changed_since_it_was_listed_is_no_lie(mirror, mc, monkeypatch):
    from backup_orchestration.providers.mirror.mc import McMirror

    real = McMirror.copy

    def copy(self, **how):
        mirror.put("k/3", b"another body")
        mirror.client.delete_object(Bucket=mirror.source, Key="k/4")
        return real(self, **how)

    monkeypatch.setattr(McMirror, "copy", copy)
    mc("all")
    snapshot, said = taken(mirror)
    assert (snapshot.counts["changed"], snapshot.counts["deleted"], snapshot.counts["by_mc"]) == (1, 1, 4), said
    require_whole(mirror, snapshot)


def test_it_gets_its_keys_by_a_private_file_that_is_gone_afterwards(mirror, mc):
    mc("all")
    mirror.backup()
    seen = mc()
    assert seen["mode"] == "0o600"
    assert seen["homes"] == "0o700"
    assert KEY in seen["config"] and SECRET in seen["config"]
    told = json.dumps([seen["argv"], seen["env"]])
    assert SECRET not in told and KEY not in told
    left = [path for path in mirror.root.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    assert not [path for path in left if SECRET.encode() in path.read_bytes()]


def test_one_that_is_killed_or_missing_is_said(mirror, mc):
    mc("all")
    tool = mirror.root.parent / "tools" / "mc"
    text = tool.read_text()
    tool.write_text(text.replace("time.sleep(", "os.kill(os.getpid(), 9) or (", 1))
    with pytest.raises(CommandFailedError, match=f"killed by {signal.SIGKILL.name}"):
        mirror.backup()
    tool.write_text("#!/bin/sh\necho GNU Midnight Commander 4.8.29\n")
    with pytest.raises(ToolMissingError, match=r"mc is needed: .*mc does not say its version"):
        mirror.backup()
    assert mirror.homelab.tools() == [MC]
    assert mirror.configure().homelab.tools() == []


def test_the_own_engine_restores_what_mc_copied(mirror, mc):
    """A restore needs no mc."""
    mc("all")
    mirror.backup()
    (mirror.root.parent / "tools" / "mc").unlink()
    assert mirror.restore_test().passed
