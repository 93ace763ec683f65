"""Killed in the midst: whoever is killed, by whatever signal, nothing counts that was not finished."""

import signal

import pytest
from kills import kill_and_look

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

VERBS = pytest.mark.parametrize("verb", ["run", "restore-test"])
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
MOMENTS = pytest.mark.parametrize("moment", range(10))


@pytest.fixture
def killed(sites, chance, matrix):
    def look(verb, who, number):
        site = sites(verb)
        delay = chance.uniform(0, 1)
        found = kill_and_look(site, verb, who, number, delay)
        matrix("Killed in flight: 0 to 1 s after the first byte", verb, who, number.name, *found)

    return look


@VERBS
@SIGNALS
@MOMENTS
def test_the_command_is_killed(killed, verb, number, moment):
    killed(verb, "command", number)


@VERBS
@SIGNALS
@MOMENTS
def test_its_worker_is_killed(killed, verb, number, moment):
    killed(verb, "worker", number)


@VERBS
@SIGNALS
@MOMENTS
def test_the_tool_alone_is_killed(killed, verb, number, moment):
    killed(verb, "tool", number)
