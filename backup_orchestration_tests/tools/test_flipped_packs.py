"""Acceptance: one byte flipped anywhere in a repository, and every restore test that stands on it fails.

Three backups, each of which adds a folder and leaves the others alone: each makes one pack of data and one of
trees, and from then on every snapshot uses them. The cache is warm, so that restic alone would not see half of it.
"""

import contextlib
import hashlib
import os
import random
import struct
from dataclasses import dataclass

import pytest

from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.status import Protection
from backup_orchestration.operations.status import status_of
from backup_orchestration.providers.base import RestoreSpec

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

HEADING = "damage in the repository: what | where | snapshots tested | the words of the last"
ROUNDS = (0, 1, 2)


@dataclass(frozen=True)
class Packed:
    site: object
    keys: tuple
    packs: dict  # (round, "data" or "tree") -> file

    @property
    def repository(self):
        return self.site.root / "backups" / "restic-app-files"

    def tested(self, first=0):
        """Evidence of a restore test of each snapshot from this round on."""
        return [self.site.restore_test("app/files", key) for key in self.keys[first:]]


@pytest.fixture(scope="module")
def packed(tmp_path_factory, new_site, start_repository):
    site = start_repository(new_site(tmp_path_factory.mktemp("packed")), "app/files")
    directory = tmp_path_factory.mktemp("restored")
    chance = random.Random(4711)
    keys, packs = [], {}
    for turn in ROUNDS:
        folder = site.root / "data" / f"folder-{turn}" / "sub"
        folder.mkdir(parents=True)
        (folder / "large").write_bytes(chance.randbytes(60_000))
        before = set(site.packs())
        snapshot = site.backup()
        keys.append(snapshot.key)
        tree, data = sorted(set(site.packs()) - before, key=lambda path: path.stat().st_size)
        packs |= {(turn, "tree"): tree, (turn, "data"): data}
        (directory / str(turn)).mkdir()
        spec = RestoreSpec(directory / str(turn))
        site.homelab.repository("app/files").restore(snapshot, spec, lambda update: None)
    cached = {path.name for path in (site.root / ".homelab" / "cache").rglob("*") if path.is_file()}
    assert {packs[turn, "tree"].name for turn in ROUNDS} <= cached, "the cache is not warm"
    for path in (site.root / "backups").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return Packed(site, tuple(keys), packs)


@contextlib.contextmanager
def changed(path, content):
    """The file with other content, or without any (None), for the block; then as it was."""
    before, times = path.read_bytes(), path.stat()
    path.unlink() if content is None else path.write_bytes(content)
    if content is not None:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(content, at):
    other = bytearray(content)
    other[at] ^= 1 << at % 8
    return bytes(other)


def places(content, name):
    """Three seeded offsets: two in the blobs, one in the header, which ends with its length."""
    header = struct.unpack("<I", content[-4:])[0] + 4
    chance = random.Random(name)
    middle = (len(content) - header) // 2
    return {
        "first half of the blobs": chance.randrange(middle),
        "second half of the blobs": chance.randrange(middle, len(content) - header),
        "header": chance.randrange(len(content) - header, len(content)),
    }


def put_on_record(packed, matrix, what, where, tests):
    words = tests[-1].reason.replace(str(packed.repository), "…")[:90]
    matrix(HEADING, what, where, str(len(tests)), words)


@pytest.mark.parametrize("place", ["first half of the blobs", "second half of the blobs", "header"])
@pytest.mark.parametrize("kind", ["data", "tree"])
@pytest.mark.parametrize("turn", ROUNDS)
def test_a_flipped_byte_fails_every_snapshot_that_uses_the_pack(packed, matrix, turn, kind, place):
    pack = packed.packs[turn, kind]
    content = pack.read_bytes()
    assert hashlib.sha256(content).hexdigest() == pack.name
    at = places(content, pack.name)[place]
    with changed(pack, flipped(content, at)):
        tests = packed.tested(turn)
        assert packed.site.judge().protection is Protection.SUSPECT
    put_on_record(packed, matrix, f"{kind} pack of backup {turn + 1}", f"{place}, byte {at}", tests)
    assert len(tests) == 3 - turn
    for evidence in tests:
        assert not evidence.passed
        assert evidence.reason.startswith("restore: ")
        assert pack.name in evidence.reason


@pytest.mark.parametrize("kind", ["data", "tree"])
@pytest.mark.parametrize("turn", ROUNDS)
def test_with_the_byte_put_back_they_pass_and_the_ones_before_never_failed(packed, turn, kind):
    pack = packed.packs[turn, kind]
    content = pack.read_bytes()
    with changed(pack, flipped(content, places(content, pack.name)["header"])):
        assert not packed.site.restore_test("app/files", packed.keys[-1]).passed
        for key in packed.keys[:turn][-1:]:
            older = packed.site.restore_test("app/files", key)
            assert older.passed, older.reason
    again = packed.site.restore_test("app/files", packed.keys[-1])
    assert again.passed, again.reason


def half(content):
    return content[: len(content) // 2]


SPOILED = {
    "missing": lambda content: None,
    "cut in half": half,
    "emptied": lambda content: b"",
    "grown by a byte": lambda content: content + b"\0",
    "zeroes": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("kind", ["data", "tree"])
def test_a_spoiled_pack_fails_every_snapshot_that_uses_it(packed, matrix, kind, how):
    pack = packed.packs[1, kind]
    with changed(pack, SPOILED[how](pack.read_bytes())):
        tests = packed.tested(1)
    put_on_record(packed, matrix, f"{kind} pack of backup 2", how, tests)
    for evidence in tests:
        assert not evidence.passed
        assert pack.name in evidence.reason


def test_another_pack_in_the_place_of_one(packed, matrix):
    """Whole by itself, and not what its name says."""
    pack, other = packed.packs[1, "data"], packed.packs[0, "data"]
    with changed(pack, other.read_bytes()):
        tests = packed.tested(1)
    put_on_record(packed, matrix, "data pack of backup 2", "another pack's bytes", tests)
    assert not [evidence for evidence in tests if evidence.passed or pack.name not in evidence.reason]


@pytest.mark.parametrize("how", ["flipped", "missing", "emptied"])
def test_a_damaged_index(packed, matrix, how):
    index = max((packed.repository / "index").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    content = index.read_bytes()
    spoiled = {"flipped": flipped(content, len(content) // 2), "missing": None, "emptied": b""}[how]
    with changed(index, spoiled):
        evidence = packed.site.restore_test("app/files", packed.keys[-1])
    put_on_record(packed, matrix, "newest index", how, [evidence])
    assert not evidence.passed
    assert how == "missing" or index.name in evidence.reason
    assert packed.site.restore_test("app/files", packed.keys[-1]).passed


def test_a_damaged_snapshot_that_the_cache_still_lists(packed, matrix):
    path = packed.repository / "snapshots" / packed.site.homelab.repository("app/files").latest().snapshot_id
    with changed(path, flipped(path.read_bytes(), 100)):
        evidence = packed.site.restore_test("app/files", packed.keys[-1])
    put_on_record(packed, matrix, "snapshot", "flipped", [evidence])
    assert not evidence.passed
    assert f"snapshots/{path.name}" in evidence.reason


@pytest.mark.parametrize("place", ["config", "keys"])
def test_damage_that_keeps_the_repository_from_being_opened(packed, matrix, place):
    """An error, no evidence, and no green."""
    path = next(item for item in sorted((packed.repository / place).rglob("*")) or [packed.repository / place])
    records = len(packed.site.homelab.evidence().ledger("app/files", "default").records)
    with changed(path, flipped(path.read_bytes(), path.stat().st_size // 2)):
        with pytest.raises(HomelabError) as caught:
            packed.site.restore_test("app/files", packed.keys[-1])
        assert status_of(packed.site.homelab, "app/files").protection is Protection.SUSPECT
    matrix(HEADING, place, "flipped", "1", f"error: {caught.value.message.replace(str(packed.repository), '…')[:80]}")
    assert len(packed.site.homelab.evidence().ledger("app/files", "default").records) == records
