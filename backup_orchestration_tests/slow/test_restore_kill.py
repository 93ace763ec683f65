"""Restores that are killed at many moments: whoever is killed, nothing stands at the place."""

import signal

import pytest
from kills import kill_restore_and_look

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


@pytest.mark.parametrize("who", ["command", "worker", "tool"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", range(5))
def test_a_restore_is_killed(sites, chance, matrix, who, number, moment):
    found = kill_restore_and_look(sites("restore"), who, number, chance.uniform(0, 1))
    matrix("Restores killed in flight: 0 to 1 s after the first byte", who, number.name, *found)
