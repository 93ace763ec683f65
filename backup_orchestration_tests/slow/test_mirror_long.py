"""Mirrors: every kind of damage, kills at any moment, and memory that stays flat however many objects there are."""

import time

import pytest
from hostile import peak_growth

from backup_orchestration.core import tools
from backup_orchestration.devlab.needs import RCLONE
from backup_orchestration_tests.conftest import needed
from backup_orchestration_tests.mirror_damage import KINDS, require_red, two_mirrors
from backup_orchestration_tests.mirror_kills import HEADING, kill_and_repeat, requests_of
from backup_orchestration_tests.mirrors import MirrorSite
from backup_orchestration_tests.tools.faulty_store import S3Server

pytestmark = [pytest.mark.tools]


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory, moto, small_parts):
    return two_mirrors(tmp_path_factory.mktemp, moto)


@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_damages(mirrors, kind, matrix):
    count = -(-200 // len(KINDS))
    require_red(mirrors, kind, count)
    matrix("Damage to a mirror", kind, f"{count} cases, all seen")


@pytest.fixture(scope="module")
def requests(tmp_path_factory, moto):
    """How many requests an undisturbed run of each operation makes."""
    found = {}

    def ask(verb):
        if verb not in found:
            found[verb] = requests_of(tmp_path_factory.mktemp("whole"), moto, verb)
        return found[verb]

    return ask


@pytest.mark.parametrize("verb", ["snapshot", "restore test", "prune"])
@pytest.mark.parametrize("moment", range(10))
def test_killed_at_any_moment(tmp_path, moto, requests, chance, verb, moment, matrix):
    at = chance.randrange(1, requests(verb))
    matrix(HEADING, verb, *kill_and_repeat(tmp_path, moto, verb, at))


@pytest.fixture(scope="module")
def rclone(tmp_path_factory):
    """A server that is no part of this process, so that the memory measured here is the mirror's."""
    root = tmp_path_factory.mktemp("rclone") / "objects"
    root.mkdir()
    server = S3Server(str(needed(lambda: tools.find(RCLONE).path)), root)
    yield server
    server.close()


def test_memory_is_flat(tmp_path_factory, rclone, sampled, matrix):
    grown = {}
    for count in (1_000, 50_000 if sampled(50) == 50 else 5_000):
        mirror = MirrorSite(tmp_path_factory.mktemp("many"), f"http://127.0.0.1:{rclone.port}", patience=120)
        for number in range(count):
            folder = rclone.root / mirror.source / f"{number % 250:03}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.txt").write_text(str(number))
        seconds = [time.monotonic()]
        grown[count] = [peak_growth(mirror.backup)]
        seconds.append(time.monotonic())
        grown[count].append(peak_growth(mirror.restore_test))
        seconds.append(time.monotonic())
        took = f"backup {seconds[1] - seconds[0]:.0f} s, restore test {seconds[2] - seconds[1]:.0f} s"
        matrix("Memory of a mirror", f"{count:,} objects", took, *(f"{size >> 20} MiB" for size in grown[count]))
        (evidence,) = mirror.homelab.evidence().ledger("app/files", "default").records
        assert evidence.passed, evidence.reason
        assert evidence.counts["objects"] == count
    (small, many) = grown.values()
    assert max(many) < max(small) + 32_000_000
