"""The count rules against the real `restic forget --dry-run`: 400 generated cases."""

import pytest
from oracle import make_history, some_retention

from backup_orchestration.core.retention import keep_by_counts

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


@pytest.mark.parametrize("number", range(4))
def test_it_keeps_what_restic_keeps_and_for_the_same_reasons(
    number, tmp_path, restic, empty_repository, chance, matrix
):
    history = make_history(tmp_path, restic, empty_repository, chance, snapshots=80, groups=20)
    cases = 100
    for _ in range(cases):
        group, retention = chance.choice(sorted(history.groups)), some_retention(chance)
        ours = keep_by_counts({name: history.moments[name] for name in history.groups[group]}, retention)
        assert ours == history.kept_by_restic(group, retention), (group, retention)
    matrix("Retention against restic forget", f"{cases} cases", "0 differences")
