"""Runs that Dagster's daemon started: terminated in the page, killed, and with the daemon itself killed."""

import os
import signal
from contextlib import ExitStack, contextmanager

import pytest
from kills import MissedError, gone, in_flight, known, left, next_one_works, runs
from pages import Page, kill_all
from running import parent, wait_until

from backup_orchestration.orchestration.instance import open_instance

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

# Ten moments, taken in turns by backup and restore test: a page and a daemon are dear.
MOMENTS = pytest.mark.parametrize(
    ("moment", "verb"), [(moment, ("run", "restore-test")[moment % 2]) for moment in range(10)]
)


@contextmanager
def met(page, verb, delay):
    """A run of the daemon in its midst: what was known before it, its id, and the tool's process id.

    One that has ended before it was met has done what it should, and the next is met sooner.
    """
    site = page.site
    while True:
        before = known(site)
        with open_instance(site.homelab) as instance:
            instance.add_dynamic_partitions("app/files", list(before.snapshots))
        run = page.launch(verb, before.snapshots[-1])
        with ExitStack() as flight:
            try:
                pid = flight.enter_context(in_flight(site, verb, delay))
            except MissedError:
                wait_until(lambda: runs(site)[0][0] == "SUCCESS")
                delay /= 2
                continue
            yield before, run, pid
            return


@pytest.fixture
def fly(sites, chance, matrix):
    """Has the daemon start a run, and ends it in its midst by `action(page, run, worker)`.

    `outcome` is how Dagster shows the run; None: it is "started" until the next command.
    """

    def look(verb, kind, action, leaves, outcome):
        site = sites(verb)
        with Page(site, os.environ) as page:
            with met(page, verb, chance.uniform(0, 1)) as (before, run, pid):
                worker = parent(pid)
                action(page, run, worker)
            gone(site, pid, worker)
            found = left(site)
            assert set(found) <= leaves, found
            assert known(site) == before
            if outcome is not None:
                wait_until(lambda: runs(site)[0][0] not in ("STARTED", "CANCELING"), 30)
                assert (runs(site)[0][0], runs(site)[1]) == (outcome, 0)
            next_one_works(site, verb, before)
            matrix("Killed in flight: runs of the daemon", verb, kind, ", ".join(found) or "nothing", runs(site)[0][1])

    return look


@MOMENTS
def test_terminate_in_the_page(fly, verb, moment):
    def terminate(page, run, _worker):
        assert page.terminate(run) == "TerminateRunSuccess"

    fly(verb, "Terminate", terminate, set(), "CANCELED")


@MOMENTS
def test_the_run_is_stopped(fly, verb, moment):
    fly(verb, "SIGTERM to the run", lambda page, run, worker: os.kill(worker, signal.SIGTERM), set(), "FAILURE")


@MOMENTS
def test_the_run_is_killed(fly, verb, moment):
    leaves = {"lab", "lock", "secret", "staging"}
    fly(verb, "SIGKILL to the run", lambda page, run, worker: os.kill(worker, signal.SIGKILL), leaves, "FAILURE")


@MOMENTS
def test_everything_is_killed(fly, verb, moment):
    """As when the power fails: the daemon is down, and its run is still "started" for Dagster."""
    leaves = {"lab", "lock", "secret", "staging"}
    fly(verb, "SIGKILL to all", lambda page, run, worker: kill_all(page.site), leaves, None)


@MOMENTS
def test_the_daemon_is_killed_and_its_run_goes_on(sites, chance, matrix, verb, moment):
    """A run is a process of its own. The next command waits for it, and both succeed."""
    site = sites(verb)
    with Page(site, os.environ) as page:
        with met(page, verb, chance.uniform(0, 1)) as (before, _, _):
            page.daemon.process.kill()
            page.daemon.end()
        next_one_works(site, verb, before, others=1)
        matrix("Killed in flight: runs of the daemon", verb, "SIGKILL to the daemon", "nothing", "SUCCESS")
