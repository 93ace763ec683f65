"""Running programs: real small ones, ended in every way a program can end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backup_orchestration.core import commands
from backup_orchestration.core.commands import Command, Completed, check, failed, run
from backup_orchestration.core.errors import CommandFailedError, CommandTimeoutError, ToolMissingError
from backup_orchestration.core.redaction import REDACTOR


def python(code: str, timeout: float = 30, **how) -> Command:
    return Command([sys.executable, "-c", code], timeout, **how)


def shell(script: str, timeout: float = 30, **how) -> Command:
    return Command(["/bin/sh", "-c", script], timeout, **how)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody has collected yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until(condition, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def pid_in(path: Path) -> int:
    assert wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_an_exit_code_is_data():
    done = run(shell("echo out; echo err >&2; exit 3"))
    assert (done.returncode, done.stdout, done.stderr, done.name) == (3, "out", "err", "sh")


def test_the_end_by_a_signal_is_data_too():
    assert run(shell("kill -9 $$")).returncode == -signal.SIGKILL


def test_check_insists_on_zero_and_says_what_the_code_means():
    assert check(shell("echo fine")).stdout == "fine"
    with pytest.raises(CommandFailedError) as refused:
        check(shell("echo first >&2; echo 'Fatal: no such host' >&2; exit 12"), {12: "wrong password"})
    assert refused.value.message == "sh ended with exit code 12 (wrong password): Fatal: no such host"


@pytest.mark.parametrize(
    ("stdout", "stderr", "reason"),
    [
        ("out", "a\n\n why \n\n", "why"),
        ("first\nlast", " \n", "last"),
        ("", "", "exit code 7"),
        ("", "\x1b[31mred", "\\x1b[31mred"),
        ("", "x" * 9000, "x" * 500),
    ],
)
def test_the_reason_is_the_last_thing_that_was_said(stdout, stderr, reason):
    assert Completed("tool", 7, stdout, stderr).reason == reason
    assert reason in failed(Completed("tool", 7, stdout, stderr)).message


def test_megabytes_on_both_streams_are_read_to_the_end():
    code = """
import sys
for number in range(40_000):
    print(number, "o" * 60)
    print(number, "e" * 60, file=sys.stderr)
"""
    seen: list[str] = []
    done = run(python(code), on_stderr=seen.append)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("39999 ")
    assert len(done.stdout.splitlines()) == len(seen) == 40_000
    assert done.stderr.splitlines()[-1].startswith("39999 ")
    assert len(done.stderr.splitlines()) < 1_000


def test_lines_are_handed_on_as_they_come_and_then_not_kept(tmp_path):
    go = tmp_path / "go"
    script = f"echo first; while [ ! -e {go} ]; do sleep 0.01; done; echo second"
    seen: list[str] = []

    def hear(line: str) -> None:
        seen.append(line)
        go.touch()  # the program waits for this: a line that came only at the end would hang it

    done = run(shell(script, timeout=20), on_stdout=hear)
    assert seen == ["first", "second"]
    assert done.stdout == ""


def test_what_is_not_text_is_read_all_the_same():
    assert run(shell(r"printf 'a\377b\r\nlast'")).stdout == "a\ufffdb\nlast"


def test_secrets_are_masked_on_both_streams_and_in_what_is_handed_on():
    REDACTOR.add("sesame-in-a-command")
    seen: list[str] = []
    done = run(shell("echo sesame-in-a-command; echo sesame-in-a-command >&2"), on_stderr=seen.append)
    assert (done.stdout, done.stderr, seen) == ("***", "***", ["***"])
    kept = run(shell("echo sesame-in-a-command; echo sesame-in-a-command >&2", secret=True))
    assert (kept.stdout, kept.stderr) == ("sesame-in-a-command", "***")


def test_a_child_gets_a_minimal_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTIC_PASSWORD", "from our environment")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("HOME", "/home/somebody")
    code = "import os, json; print(json.dumps(sorted(os.environ.items()))); print(os.getcwd())"
    done = run(python(code, env={"EXTRA": "1"}, cwd=tmp_path))
    environment, directory = done.stdout.splitlines()
    given = dict(eval(environment))
    assert given["TZ"] == "UTC"
    assert given["LC_ALL"] == "C"
    assert given["HOME"] == "/home/somebody"
    assert given["EXTRA"] == "1"
    assert set(given) <= {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "TZ", "LC_ALL", "LC_CTYPE", "EXTRA"}
    assert Path(directory) == tmp_path


def test_a_child_cannot_ask_a_person():
    ours, typed = os.pipe()
    os.write(typed, b"somebody typed this\n")
    os.close(typed)
    before = os.dup(0)
    os.dup2(ours, 0)
    try:
        assert run(python("import sys; print(repr(sys.stdin.read()))")).stdout == "''"
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(ours)


@pytest.mark.parametrize("program", ["no-such-program-here", "/etc/hostname/x", "/"])
def test_a_program_that_cannot_be_started_is_missing(program):
    with pytest.raises(ToolMissingError, match=f"{program} cannot be started"):
        run(Command([program], 5))


def test_a_program_that_the_system_refuses_is_missing(tmp_path):
    """It is there, so that only who has become it could tell; and a program may end so by itself."""
    broken = tmp_path / "tool"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(ToolMissingError, match=f"{broken} cannot be started: No such file"):
        run(Command([str(broken)], 5))
    for code in (126, 127):
        assert run(shell(f"echo 'failed to execute' >&2; exit {code}")).returncode == code


@pytest.mark.parametrize("said", ["", "echo 'setpriv: unrecognized option: pdeathsig' >&2; exit 1", "exec echo lies"])
def test_a_setpriv_that_cannot_ask_for_a_signal_is_not_used(tmp_path, monkeypatch, said):
    other = tmp_path / "setpriv"
    other.write_text(f"#!/bin/sh\n{said}\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert commands._setpriv.__wrapped__() is None


def test_what_is_no_program_is_not_given_to_a_shell(tmp_path):
    zeros = tmp_path / "tool"
    zeros.write_bytes(bytes(4096))
    zeros.chmod(0o700)
    with pytest.raises(ToolMissingError, match="cannot be started: Exec format error"):
        run(Command([str(zeros)], 10))


def test_without_setpriv_it_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commands._setpriv.__wrapped__() is None


def test_a_timeout_stops_the_program_and_its_grandchildren(tmp_path):
    grandchild = tmp_path / "pid"
    script = f"sleep 60 & echo $! >{grandchild}; wait"
    started = time.monotonic()
    with pytest.raises(CommandTimeoutError, match=r"did not end within 0\.5 s"):
        run(shell(script, timeout=0.5))
    assert time.monotonic() - started < 10
    assert wait_until(lambda: not is_running(pid_in(grandchild)))


def test_a_program_that_is_stopped_may_put_things_away(tmp_path):
    lock, dropped = tmp_path / "lock", tmp_path / "dropped"
    script = f"trap 'mv {lock} {dropped}; exit 0' TERM; touch {lock}; while :; do sleep 0.05; done"
    with pytest.raises(CommandTimeoutError):
        run(shell(script, timeout=1))
    assert dropped.exists()


@pytest.mark.parametrize("who", ["the-program", "only-its-child"])
def test_who_ignores_being_stopped_is_killed(tmp_path, monkeypatch, who):
    monkeypatch.setattr(commands, "_GRACE_SECONDS", 0.5)
    stubborn = tmp_path / "pid"
    ignoring = f"trap '' TERM; echo $$ >{stubborn}; while :; do sleep 0.05; done"
    argv = ["-c", ignoring] if who == "the-program" else ["-c", '/bin/sh -c "$0" & wait', ignoring]
    with pytest.raises(CommandTimeoutError):
        run(Command(["/bin/sh", *argv], 1))
    assert wait_until(lambda: not is_running(pid_in(stubborn)), 3)


def test_what_a_program_leaves_running_ends_with_it(tmp_path):
    """Also when it was killed: by the kernel, for want of memory."""
    child = tmp_path / "pid"
    done = run(shell(f"sleep 60 >/dev/null 2>&1 & echo $! >{child}; kill -9 $$"))
    assert done.returncode == -9
    assert wait_until(lambda: not is_running(pid_in(child)))


def test_an_exception_while_waiting_stops_the_program(tmp_path):
    child = tmp_path / "pid"

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            run(shell(f"echo $$ >{child}; exec sleep 60"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not is_running(pid_in(child))


@pytest.mark.parametrize("without", ["", "commands._setpriv = lambda: None"], ids=["setpriv", "without"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_the_program_ends_with_us_when_we_are_killed(tmp_path, without, number):
    child, heard = tmp_path / "pid", tmp_path / "heard"
    script = f"trap 'touch {heard}; exit' {number[3:]}; echo $$ >{child}; while :; do sleep 0.05; done"
    code = f"""
import signal
from backup_orchestration.core import commands
{without}
commands.run(commands.Command(["/bin/sh", "-c", {script!r}], 60, last_signal=signal.{number}))
"""
    parent = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    pid = pid_in(child)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert wait_until(lambda: not is_running(pid))
    assert heard.exists()


def test_a_program_is_started_without_a_copy_of_this_process(monkeypatch):
    """That copy costs more than many a program; Python makes it where it has something to do before the program."""
    given = []
    popen = subprocess.Popen

    def starting(*args, **how):
        given.append(how["preexec_fn"])
        return popen(*args, **how)

    monkeypatch.setattr(subprocess, "Popen", starting)
    assert run(shell("exit 5")).returncode == 5
    assert given == [None]


def test_waiting_works_where_the_system_has_no_pidfd(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    assert run(shell("exit 4")).returncode == 4
    with pytest.raises(CommandTimeoutError):
        run(shell("exec sleep 60", timeout=0.3))


def test_a_program_that_is_hopeless_is_stopped(tmp_path):
    heard = []
    with pytest.raises(CommandTimeoutError, match=r"sh did not end within .* and was stopped"):
        run(shell(f"echo $$ > {tmp_path}/pid; echo fails >&2; sleep 60"), None, heard.append, lambda: "fails" in heard)
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_program_that_is_not_ends_by_itself():
    asked = []
    done = run(shell("sleep 1.2; exit 3"), hopeless=lambda: bool(asked.append(1)))
    assert done.returncode == 3
    assert asked


def test_a_program_that_is_watched_has_its_time_limit_all_the_same():
    with pytest.raises(CommandTimeoutError):
        run(shell("sleep 60", timeout=0.8), hopeless=lambda: False)


def test_a_program_that_does_not_heed_sigterm_has_its_grace_and_no_more():
    """A restic takes a minute to remove its lock from a store that fails."""
    started = time.monotonic()
    with pytest.raises(CommandTimeoutError):
        run(shell("trap '' TERM; sleep 60 & wait; sleep 60", timeout=0.5, grace=0.5))
    assert time.monotonic() - started < 20  # and not the 30 s of others


def test_a_program_can_be_kept_from_writing_elsewhere(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for directory in (inside, outside):
        directory.mkdir()
        (directory / "old").write_text("old")
    script = "echo new > inside/old; touch inside/made; echo new > outside/old; touch outside/made; rm outside/old"
    done = run(Command(("sh", "-c", script), 20, cwd=tmp_path, writes=(inside,)))
    assert done.stderr.count("ermission denied") == 3
    assert (inside / "old").read_text() == "new\n"
    assert (inside / "made").exists()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"old": "old"}


def test_a_program_that_cannot_be_confined_is_not_started(tmp_path):
    done = run(Command(("touch", str(tmp_path / "made")), 20, writes=(tmp_path / "missing",)))
    assert done.returncode == 126
    assert "cannot be confined" in done.stderr
    assert not (tmp_path / "made").exists()


def test_a_program_can_be_cut_off_from_the_network():
    assert commands.can(cut_off=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)"
        assert run(Command((sys.executable, "-c", connect), 20)).returncode == 0
        done = run(Command((sys.executable, "-c", connect), 20, cut_off=True))
    assert "unreachable" in done.stderr
