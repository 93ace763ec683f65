"""The count rules against the real `restic forget --dry-run`; many more cases are in `slow/test_many_forgets.py`."""

import random

import pytest

from backup_orchestration.core.retention import keep_by_counts
from backup_orchestration_tests.oracle import make_history, some_retention

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


def test_it_keeps_what_restic_keeps_and_for_the_same_reasons(tmp_path, restic, empty_repository):
    chance = random.Random(8)
    history = make_history(tmp_path, restic, empty_repository, chance, snapshots=25, groups=8)
    seen = set()
    for group, members in history.groups.items():
        for _ in range(3):
            retention = some_retention(chance)
            ours = keep_by_counts({name: history.moments[name] for name in members}, retention)
            assert ours == history.kept_by_restic(group, retention), (group, retention)
            seen.update(reason for reasons in ours.values() for reason in reasons)
    assert {"last snapshot", "daily snapshot", "oldest weekly snapshot", "oldest monthly snapshot"} <= seen
