"""Restore tests with the real restic: what is right passes."""

import pytest

from backup_orchestration.core.status import Protection

pytestmark = pytest.mark.tools


def test_a_directory_comes_back(site):
    snapshot = site.backup()
    evidence = site.restore_test()
    assert evidence.passed, evidence.reason
    assert evidence.counts["files"] == 2
    assert evidence.snapshot_id == snapshot.snapshot_id
    assert site.judge().protection is Protection.FRESH
