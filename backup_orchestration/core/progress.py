"""How long work tells the person who waits that it moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Update:
    """One step forward.

    Attributes:
        stage: what is being done, e.g. `backup`.
        fraction: 0 to 1 where it is known.
        message: a line worth keeping, or empty for a mere movement.
    """

    stage: str
    fraction: float | None = None
    message: str = ""


Progress = Callable[[Update], None]


def silent(_update: Update) -> None:
    """A progress that nobody watches."""
