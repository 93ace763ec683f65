"""Acceptance: command line and daemon against one repository, twenty rounds."""

import pytest
from writers import Writers, play

pytestmark = [pytest.mark.tools, pytest.mark.slow, pytest.mark.usefixtures("restic")]


def test_two_writers_never_meet(site, dagster_home, start_repository, sampled, matrix):
    rounds = sampled(20)
    writers = Writers(site, dagster_home, start_repository)
    with writers.daemon():
        overlaps, waits = play(writers, rounds)
    matrix("Two writers", f"{rounds} rounds", f"{overlaps} overlaps", f"the second waited in {waits}")
    assert overlaps == 0
    assert waits >= rounds * 3 / 4
