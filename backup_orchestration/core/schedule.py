"""Cron expressions: what is valid, and how far apart their slots can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

# A gap is looked for over this many slots: enough for every weekday, month end and leap day of a plain cron.
_SLOTS = 800
_LONGEST_SPAN = timedelta(days=4 * 366)


def check_cron(expression: str) -> str:
    """Return the expression if it is a five-field cron; raise ValueError naming what is wrong with it."""
    if len(expression.split()) != 5:
        raise ValueError(f"{expression!r} is not a cron of five fields, e.g. '0 2 * * *'")
    if not croniter.is_valid(expression):
        raise ValueError(f"{expression!r} is not a valid cron, e.g. '0 2 * * *' is every night at two")
    return expression


def check_timezone(name: str) -> str:
    """Return the name if it is an IANA time zone; raise ValueError otherwise."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone, e.g. 'Europe/Berlin'") from error
    return name


def longest_gap(expression: str) -> timedelta:
    """Longest time between two neighbouring slots of a cron expression.

    Daylight saving is left out: it moves a slot by an hour at most, which the RPO's margin covers.
    The walk starts at a fixed date, so that the answer does not depend on the day it is asked.
    """
    start = datetime(2024, 1, 1, tzinfo=UTC)
    slots = croniter(expression, start)
    longest, before = timedelta(0), slots.get_next(datetime)
    for _ in range(_SLOTS):
        after = slots.get_next(datetime)
        longest, before = max(longest, after - before), after
        if after - start > _LONGEST_SPAN:
            break
    return longest
