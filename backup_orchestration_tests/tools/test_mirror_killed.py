"""A mirror's snapshot is killed in its midst; the slow tier does it at many moments, to every operation."""

from backup_orchestration_tests.mirror_kills import kill_and_repeat


def test_a_killed_snapshot_is_none(tmp_path, moto):
    assert "+0 snapshots" in kill_and_repeat(tmp_path, moto, "snapshot", 25, objects=6, days=(3,))
