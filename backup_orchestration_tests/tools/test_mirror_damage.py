"""Damage to a mirror, seeded: the restore test is red, or the snapshot is none. The slow tier does all 200 cases."""

import pytest

from backup_orchestration_tests.mirror_damage import KINDS, require_red, two_mirrors


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory, moto, small_parts):
    return two_mirrors(tmp_path_factory.mktemp, moto)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_seen(mirrors, kind):
    require_red(mirrors, kind, 4)


def test_what_is_not_damaged_passes(mirrors):
    for site, _ in mirrors.values():
        assert site.restore_test().passed
