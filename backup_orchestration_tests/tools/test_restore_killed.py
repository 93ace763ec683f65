"""One of the kind of `slow/test_restore_kill.py`: nothing stands at the place, and the same command works again."""

import signal

import pytest
from kills import copy_site, files_of, fill, kill_restore_and_look

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


def test_the_worker_of_a_restore_is_killed(template, tmp_path, dagster_home):
    site = copy_site(template, tmp_path, dagster_home)
    site.declare(files_of(fill(site.root / "large", 64)))
    site.backup()
    found = kill_restore_and_look(site, "worker", signal.SIGKILL, 0.2)
    assert found == ("exit code 1", "a directory beside the place")
