"""The wrapper around a dump: what it prints goes on whole, and a dump of nothing is a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import alive
from running import wait_until

from backup_orchestration.core import dump
from backup_orchestration.core.commands import Command, run


def dumped(*argv: str, **env: str):
    """Run it as a backup tool does: by file name, isolated, in a process of its own."""
    return run(Command([sys.executable, "-I", str(Path(dump.__file__)), *argv], 60, env))


def test_what_is_printed_goes_on_and_the_code_is_zero():
    done = dumped("/bin/sh", "-c", "printf 'a\\nb'; echo said >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\nb", "said")


@pytest.mark.parametrize(
    ("script", "code"), [("echo half; exit 3", 3), ("exit 4", 4), ("echo half; kill -9 $$", 137), (":", 65)]
)
def test_a_dump_that_failed_or_printed_nothing_is_a_failure(script, code):
    assert dumped("/bin/sh", "-c", script).returncode == code


def test_what_printed_nothing_is_named():
    assert dumped("/bin/true").reason == "/bin/true printed nothing"


def test_a_program_that_is_not_there_is_named():
    done = dumped("/nowhere/pg_dump")
    assert (done.returncode, done.reason) == (127, "/nowhere/pg_dump cannot be started: No such file or directory")


def test_the_dump_does_not_get_the_secrets_of_the_tool():
    done = dumped(
        "/usr/bin/env", RESTIC_PASSWORD_FILE="/x", AWS_SECRET_ACCESS_KEY="y", BORG_PASSPHRASE="z", PGHOST="kept"
    )
    assert "PGHOST=kept" in done.stdout
    assert not any(word in done.stdout for word in ("RESTIC_", "AWS_", "BORG_"))


def test_megabytes_come_through_a_slow_reader_unchanged(capfd):
    content = os.urandom(1 << 16).hex() * 20
    code = f"import sys; sys.stdout.write({content[:40]!r} * 50_000)"
    assert dump.main([sys.executable, "-c", code]) == 0
    assert capfd.readouterr().out == content[:40] * 50_000


@pytest.mark.parametrize(("argv", "code"), [(["/bin/true"], 65), (["no-such-dump"], 127), (["/bin/false"], 1)])
def test_in_process_the_codes_are_the_same(argv, code, capfd):
    assert dump.main(argv) == code


@pytest.fixture
def silent(tmp_path):
    """A dump that prints once and then hangs: the wrapper, started by a tool that reads, and the dump's process id."""
    mark = tmp_path / "pid"
    script = f"echo begun; echo $$ >{mark}; exec sleep 300"
    argv = [sys.executable, "-I", str(Path(dump.__file__)), "/bin/sh", "-c", script]
    wrapper = subprocess.Popen(argv, stdout=subprocess.PIPE)
    pid = int(wait_until(lambda: mark.exists() and mark.read_text()))
    yield wrapper, pid
    wrapper.stdout.close()
    if alive(pid):
        os.kill(pid, signal.SIGKILL)
    wrapper.kill()
    wrapper.wait()


def test_a_dump_that_hangs_ends_when_the_tool_is_gone(silent):
    wrapper, pid = silent
    assert wrapper.stdout.readline() == b"begun\n" and alive(pid)
    wrapper.stdout.close()
    assert wrapper.wait(20) == 141
    assert not alive(pid)


def test_a_dump_that_hangs_ends_with_its_wrapper(silent):
    wrapper, pid = silent
    wrapper.kill()
    wait_until(lambda: not alive(pid), 20)
