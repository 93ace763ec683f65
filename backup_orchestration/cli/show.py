"""How the command line talks: results on stdout, progress and errors on stderr, bars only on a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from backup_orchestration.core.progress import Update
from backup_orchestration.core.redaction import REDACTOR

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# What JSON leaves as it is, and a terminal obeys or cannot show.
_UNSEEN = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def say(text: str) -> None:
    """One line of result."""
    click.echo(REDACTOR.clean(text))


def complain(text: str) -> None:
    """One line on stderr."""
    click.echo(REDACTOR.clean(text), err=True)


def say_json(value: object) -> None:
    """JSON, indented by two; what a terminal would obey is escaped."""
    text = REDACTOR.mask(json.dumps(value, indent=2, ensure_ascii=False))
    click.echo(_UNSEEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text))


def say_table(rows: Sequence[Mapping[str, str]]) -> None:
    """A table with a heading; columns as wide as they need."""
    if not rows:
        return
    cleaned = [{key: REDACTOR.clean(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in cleaned)) for key in cleaned[0]}
    for row in [{key: key.upper().replace("_", " ") for key in widths}, *cleaned]:
        click.echo("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())


def age(span: timedelta) -> str:
    """Hours, or days from two on."""
    hours = span.total_seconds() / 3600
    return f"{hours / 24:.1f} d" if hours >= 48 else f"{hours:.1f} h"


class Bars:
    """A progress bar for each target on a terminal; nothing elsewhere. Lines go above the bars.

    Args:
        progress: the bars; None for lines alone.
        say: where a line goes then.
    """

    def __init__(self, progress: Progress | None, say: Callable[[str], None]) -> None:
        self._progress = progress
        self._say = say
        self._tasks: dict[str, TaskID] = {}

    def update(self, target: str, update: Update) -> None:
        """Move a target's bar; a message is a line of its own."""
        if update.message:
            self.line(f"{target}: {update.message}")
        if self._progress is None:
            return
        if target not in self._tasks:
            self._tasks[target] = self._progress.add_task(target, total=1.0)
        description = f"{target} {update.stage}"
        self._progress.update(self._tasks[target], description=description, completed=update.fraction or 0.0)

    def finish(self, target: str) -> None:
        """Take a target's bar away."""
        if self._progress is not None and target in self._tasks:
            self._progress.remove_task(self._tasks.pop(target))

    def line(self, text: str) -> None:
        """A line of result."""
        if self._progress is None:
            self._say(text)
        else:
            self._progress.console.print(REDACTOR.clean(text), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bars(*, as_json: bool = False) -> Iterator[Bars]:
    """Bars for the block. Started by the first update, so that no thread exists when workers are forked.

    With `as_json`, stdout is left to the JSON, and lines go to stderr.
    """
    if as_json or not sys.stdout.isatty():
        yield Bars(None, complain if as_json else say)
        return
    from rich.progress import Progress

    with Progress(transient=True) as progress:
        yield Bars(progress, say)
