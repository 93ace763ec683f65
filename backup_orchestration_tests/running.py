"""Commands that run beside a test, and what is alive of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

PASSED = ("PATH", "HOME", "HOMELAB_TOOLS", "XDG_DATA_HOME")


def wait_until(condition, seconds=90):
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def patience(seconds):
    """So many seconds on an idle machine; longer where this process waits for its turn because others work too."""
    wall, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.1:
        pass
    return seconds * max(1.0, (time.monotonic() - wall) / 0.1)


class Started:
    """A command that runs beside the test, in a session of its own."""

    def __init__(self, site, *arguments, env=None, prefix=()):
        self.site = site
        self.out, self.err = (site.root / f"{name}-{os.urandom(4).hex()}" for name in ("out", "err"))
        kept = {key: os.environ[key] for key in PASSED if key in os.environ}
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "backup_orchestration.cli.main", *arguments],
                cwd=site.root, stdout=out, stderr=err, start_new_session=True, env={**kept, **(env or {})},
            )  # fmt: skip

    def end(self, seconds=150):
        """Wait for its exit code; one that does not end is killed, and told of with what it said and who was alive."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            alive = family(self.site)
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"not ended after {seconds} s; alive: {alive}; it said:\n{self.said()}") from None

    def said(self):
        return self.out.read_text() + self.err.read_text()


def family(site):
    """Every process that works in a site's directory, or below it: its id and its program's name."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                place = os.readlink(entry / "cwd")
                program = os.readlink(entry / "exe").rpartition("/")[2]
            except OSError:
                continue
            if place == str(site.root) or place.startswith(f"{site.root}/"):
                found[int(entry.name)] = program
    return found


def tool(site, verb, program="restic"):
    """The process id of a running `restic backup`, for example, or None."""
    for pid, name in family(site).items():
        if name == program and verb in arguments_of(pid):
            return pid
    return None


def arguments_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Brake:
    """Lets a process run a small share of the time, so that a moment in the midst of its work can be met.

    `hard` makes the share smaller still. `held` is a block in which it stands still. It is free after the outer block.
    """

    def __init__(self, pid):
        self.pid = pid
        self._slice, self._pause = 0.002, 0.01
        self._done = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self._signal(signal.SIGCONT)

    def hard(self):
        self._slice, self._pause = 0.001, 0.1

    @contextmanager
    def held(self):
        with self._turn:
            self._signal(signal.SIGSTOP)
            yield

    def _work(self):
        while not self._done.is_set():
            with self._turn:
                self._signal(signal.SIGCONT)
                time.sleep(self._slice)
                self._signal(signal.SIGSTOP)
            self._done.wait(self._pause)

    def _signal(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            self._done.set()
