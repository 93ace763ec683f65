"""Timing and tables, shared by every bench: rivals take turns, medians count, the spread is shown."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Taken:
    """What one run took.

    Attributes:
        seconds: by the clock on the wall.
        cpu: seconds of processor time, of it and all its children; what others do on the machine hardly moves it.
    """

    seconds: float
    cpu: float

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.seconds + other.seconds, self.cpu + other.cpu)


Run = Callable[[], Taken]


class FailedError(RuntimeError):
    """A program ended with another exit code than 0.

    Attributes:
        words: the last line that it printed of an error, or the last one.
    """

    def __init__(self, code: int, argv: Sequence[str], printed: str) -> None:
        super().__init__(f"exit code {code}: {' '.join(argv)}\n{printed}")
        lines = [line for line in printed.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        self.words = (errors or lines or [f"exit code {code}"])[-1].strip()


@dataclass(frozen=True)
class Result:
    """A number that a bench is made for.

    Attributes:
        what: in words.
        value, unit: e.g. 0.2 and `s`, or 1.25 and `x`.
        goal: highest value that is good enough; None where there is none.
    """

    what: str
    value: float
    unit: str
    goal: float | None = None

    def __str__(self) -> str:
        goal = ""
        if self.goal is not None:
            goal = f"   (goal {self.goal:g} {self.unit}: {'reached' if self.value <= self.goal else 'MISSED'})"
        return f"{self.what}: {self.value:.2f} {self.unit}{goal}"


@dataclass(frozen=True)
class Report:
    """What a bench found.

    Attributes:
        title: what was measured.
        conditions: cold or warm, sizes, how often: whatever the numbers hang on.
        taken: every run of each rival, by its name.
        results: the numbers that the bench is made for.
        failed: the words of rivals that failed, by their names.
    """

    title: str
    conditions: str
    taken: Mapping[str, Sequence[Taken]]
    results: Sequence[Result] = field(default_factory=tuple)
    failed: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For people."""
        rows: list[tuple[str, ...]] = [("", "runs", "median s", "fastest", "slowest", "cpu s")]
        for name, runs in self.taken.items():
            seconds = [run.seconds for run in runs]
            numbers = (median(seconds), min(seconds), max(seconds), median(run.cpu for run in runs))
            rows.append((name, str(len(runs)), *(f"{number:.2f}" for number in numbers)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        widths[0] = max([widths[0], *map(len, self.failed)])
        table = [
            "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in pairs)
            for pairs in (list(enumerate(zip(row, widths, strict=True))) for row in rows)
        ]
        table += [f"{name.ljust(widths[0])}  failed: {words}" for name, words in self.failed.items()]
        return [f"== {self.title}", self.conditions, "", *table, "", *map(str, self.results)]


def run(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Taken:
    """Run a program to its end and say what it took.

    Args:
        argv: argument list.
        env: added to this process's environment.
        cwd: working directory.

    Raises:
        FailedError: it ended with another exit code than 0; holds what it printed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )
    assert process.stdout is not None
    with process.stdout:
        printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise FailedError(process.returncode, [*map(str, argv)], printed.decode(errors="replace"))
    return Taken(seconds, usage.ru_utime + usage.ru_stime)


def in_turns(rivals: Mapping[str, Run], rounds: int, failed: dict[str, str] | None = None) -> dict[str, list[Taken]]:
    """Run each rival in each round, one after the other, so that what the machine does meanwhile meets all alike.

    Args:
        rivals: ours first.
        rounds: how often each runs.
        failed: takes the words of a rival that fails, which is out then; None: whoever fails ends the bench, as ours
            does always.

    Raises:
        FailedError: see `failed`.
    """
    taken: dict[str, list[Taken]] = {name: [] for name in rivals}
    ours = next(iter(rivals))
    for _ in range(rounds):
        for name in list(taken):
            try:
                taken[name].append(rivals[name]())
            except FailedError as error:
                if failed is None or name == ours:
                    raise
                failed[name] = error.words
                del taken[name]
    return taken


def middle(runs: Sequence[Taken]) -> float:
    """Median of the wall clock, in seconds."""
    return median(run.seconds for run in runs)


class Noise:
    """How much of the machine others used while something was measured."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._busy, self._own = _busy(), _own()

    def __str__(self) -> str:
        seconds = time.perf_counter() - self._started
        others = (_busy() - self._busy) - (_own() - self._own)
        cores = os.cpu_count() or 1
        return f"others used {max(0.0, others) / seconds / cores:.0%} of the {cores} cores meanwhile"


def _busy() -> float:
    """Seconds that all cores together have worked since the machine started (proc(5), `stat`)."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    user, nice, system, _idle, _waiting, interrupt, soft, *_ = map(int, fields)
    return (user + nice + system + interrupt + soft) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Seconds that this process and its children that ended have worked."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
