"""Killed in the midst: whoever is killed, by whatever signal, nothing counts that was not finished."""

import signal

import pytest
from kills import copy_site, files_of, fill, kill_and_look, proven_site

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

VERBS = pytest.mark.parametrize("verb", ["run", "restore-test"])
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
MOMENTS = pytest.mark.parametrize("moment", range(10))


@pytest.fixture(scope="session")
def proven(tmp_path_factory, new_site, start_repository):
    """A site whose only snapshot is verified; its source is large and not backed up yet."""
    site = proven_site(tmp_path_factory.mktemp("proven"), new_site, start_repository)
    return site.declare(files_of(fill(site.root / "large", 64)))


@pytest.fixture(scope="session")
def untested(proven, tmp_path_factory, dagster_home):
    """The same with a large snapshot that is not tested yet."""
    site = copy_site(proven, tmp_path_factory.mktemp("untested"), dagster_home)
    site.backup()
    return site


@pytest.fixture
def killed(proven, untested, tmp_path, dagster_home, chance, matrix):
    def look(verb, who, number):
        site = copy_site(proven if verb == "run" else untested, tmp_path, dagster_home)
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
