"""One of each kind of `slow/test_kill.py` and `slow/test_full_disk.py`: killed in flight, and full disks."""

import json
import os
import signal

import pytest
from full_disks import CASES, look
from kills import LEAVES, begin, copy_site, files_of, fill, gone, in_flight, kill_and_look, left, tool_begins
from running import family, parent, wait_until

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

# The dump prints more than a pack holds, then nothing any more while `hang` is there.
DUMP = (
    'BackupPolicy(target="app/files", source=Dump(filename="dump", command=["/bin/sh", "-c",'
    ' f"head -c 40000000 /dev/urandom; while [ -e {HERE}/hang ]; do sleep 1; done"]))'
)


@pytest.fixture
def copied(template, tmp_path, dagster_home):
    return copy_site(template, tmp_path, dagster_home)


def test_the_tool_is_killed_during_a_backup(copied):
    copied.declare(files_of(fill(copied.root / "large", 64)))
    code, found = kill_and_look(copied, "run", "tool", signal.SIGKILL, 0.2)
    assert (code, found) == ("exit code 1", "lock")


def test_the_worker_is_killed_during_a_restore_test(copied):
    """As people see it: `list` and `status` say what they said before."""
    copied.declare(files_of(fill(copied.root / "large", 64)))
    copied.backup()
    before = copied.cli("backup", "list", "--json").stdout
    command = begin(copied, "restore-test", "--all")
    with in_flight(copied, "restore-test", 0.2) as pid:
        os.kill(parent(pid), signal.SIGKILL)
        assert command.end() == 1
    gone(copied)
    assert "app/files: failed: its worker process ended with exit code -9" in command.said()
    found = left(copied)
    assert {"lab", "secret"} <= set(found) <= LEAVES["worker", signal.SIGKILL]
    assert copied.cli("backup", "list", "--json").stdout == before
    assert [item["verified"] for item in json.loads(before)] == [False, True]
    # Any next command clears the copy of the data away, not only a restore test.
    assert copied.cli("backup", "run", "--all").returncode == 0
    assert not left(copied)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_tool_is_killed_while_a_dump_hangs(copied, number):
    """Nothing is written any more that would break a pipe: the dump must be told."""
    copied.declare(DUMP)
    (copied.root / "hang").touch()
    command = begin(copied, "run", "--all")
    pid = tool_begins(copied, "run")
    wait_until(lambda: "sleep" in family(copied).values())
    os.kill(pid, number)
    assert command.end() == 1
    gone(copied)
    assert "app/files: failed: restic " in command.said()
    assert len(copied.homelab.repository("app/files").snapshots()) == 1


@pytest.mark.parametrize("case", CASES[:1], ids=lambda case: case.__name__)
def test_a_full_disk(case, template, tmp_path, dagster_home, matrix):
    look(case, template, tmp_path, dagster_home, matrix)
