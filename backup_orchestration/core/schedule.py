"""Cron expressions: what is valid, and how far apart their slots can be.

croniter is imported when it is needed: it starts the program `file` then, which inherits what is not hidden by
`core.secrets.hide` yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

# Days are walked from a fixed date, so that the answer does not depend on the day it is asked. Every weekday, month
# end and leap day comes in this span; a cron of some weekdays of one month can wait a week longer in another year.
_START = datetime(2024, 1, 1, tzinfo=UTC)
_SPAN = timedelta(days=4 * 366)
_DAY = timedelta(days=1)
_RANDOM = re.compile(r"[rhRH](?![A-Za-z])")  # croniter would choose anew each time it is asked


def check_cron(expression: str) -> str:
    """Return the expression if it is a five-field cron; raise ValueError naming what is wrong with it."""
    from croniter import CroniterBadDateError, croniter

    if len(expression.split()) != 5:
        raise ValueError(f"{expression!r} is not a cron of five fields, e.g. '0 2 * * *'")
    if any(_RANDOM.match(field) for field in expression.split()):
        raise ValueError(f"{expression!r}: R and H mean another time with every look; write the numbers")
    if not croniter.is_valid(expression):
        raise ValueError(f"{expression!r} is not a valid cron, e.g. '0 2 * * *' is every night at two")
    try:
        croniter(expression, _START).get_next(datetime)
    except CroniterBadDateError:
        raise ValueError(f"{expression!r} never comes: no year has such a day") from None
    return expression


def check_timezone(name: str) -> str:
    """Return the name if it is an IANA time zone; raise ValueError otherwise."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone, e.g. 'Europe/Berlin'") from error
    return name


@cache
def longest_gap(expression: str) -> timedelta:
    """Longest time between two neighbouring slots of a cron expression.

    Worked out from the slots of a day and from the days, so that a cron of every minute is no dearer than a nightly.
    Daylight saving is left out: it moves a slot by an hour at most, which the RPO's margin covers.
    """
    from croniter import croniter

    fields = croniter.expand(expression)[0]
    minutes, hours = _values(fields[0], 60), _values(fields[1], 24)
    times = sorted(timedelta(hours=hour, minutes=minute) for hour in hours for minute in minutes)
    over_night = _longest_days(*expression.split()[2:]) - (times[-1] - times[0])
    return max([over_night, *(after - before for before, after in pairwise(times))])


def _values(field: Sequence[int | str], size: int) -> list[int]:
    return list(range(size)) if "*" in field else [int(value) for value in field]


def _longest_days(day: str, month: str, weekday: str) -> timedelta:
    """Longest time between the midnights of two neighbouring days that match."""
    from croniter import croniter

    if {day, month, weekday} <= {"*", "?"}:
        return _DAY
    slots = croniter(f"0 0 {day} {month} {weekday}", _START - _DAY)
    longest, before = timedelta(0), slots.get_next(datetime)
    while before - _START <= _SPAN:
        after = slots.get_next(datetime)
        longest, before = max(longest, after - before), after
    return longest
