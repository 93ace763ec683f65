"""Crons and time zones: what is refused, and the default RPO that follows from a cron."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.schedule import check_cron, check_timezone, longest_gap
from backup_orchestration.core.sources import Files

SOURCE = Files(path="/srv/data")


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "daily",
        "@daily",
        "0 2 * *",
        "0 2 * * * *",
        "60 2 * * *",
        "0 24 * * *",
        "0 2 0 * *",
        "0 2 * 13 *",
        "a b c d e",
    ],
)
def test_what_is_no_cron_of_five_fields_is_refused(cron):
    with pytest.raises(ValueError, match="cron"):
        check_cron(cron)


@pytest.mark.parametrize("cron", ["0 2 31 2 *", "0 2 30 2 *", "0 2 31 4,6,9,11 *"])
def test_a_cron_that_never_comes_is_refused(cron):
    with pytest.raises(ValueError, match="never comes"):
        check_cron(cron)


@pytest.mark.parametrize("cron", ["0 2 * * *", "*/5 8-18 * * mon-fri", "0 2 29 2 *", "0 2 L * *", "0 2 31 2 1"])
def test_what_comes_is_accepted_as_it_was_written(cron):
    assert check_cron(cron) == cron


@pytest.mark.parametrize(
    "name", ["", "Berlin", "Europe", "europe/nowhere", "../UTC", "/etc/localtime", "UTC\n", "a\0b"]
)
def test_what_is_no_time_zone_is_refused(name):
    with pytest.raises(ValueError, match="IANA time zone"):
        check_timezone(name)


@pytest.mark.parametrize(
    ("cron", "gap"),
    [
        ("0 2 * * *", timedelta(days=1)),
        ("0 2 * * 0", timedelta(days=7)),
        ("0 2 * * 1-5", timedelta(days=3)),  # Friday to Monday
        ("0 2 1 * *", timedelta(days=31)),
        ("0 2 31 * *", timedelta(days=61)),  # 31 March to 31 May
        ("0 2 29 2 *", timedelta(days=1461)),
        ("0 2 1 1 *", timedelta(days=366)),
        ("0 9,17 * * *", timedelta(hours=16)),
        ("*/15 * * * *", timedelta(minutes=15)),
        ("* * * * *", timedelta(minutes=1)),
        ("* * * * 1", timedelta(days=6, minutes=1)),  # more slots on one Monday than anybody walks through
        ("*/5 8-17 * * 1-5", timedelta(days=2, hours=14, minutes=5)),  # Friday 17:55 to Monday 08:00
    ],
)
def test_longest_gap(cron, gap):
    assert longest_gap(cron) == gap


def field(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high)
    pair = st.tuples(one, one).map(sorted)
    return st.one_of(
        st.just("*"),
        one.map(str),
        pair.filter(lambda ends: ends[0] < ends[1]).map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.lists(one, min_size=1, max_size=3, unique=True).map(lambda many: ",".join(map(str, sorted(many)))),
    )


@settings(max_examples=40, deadline=None)
@given(
    minute=st.integers(0, 59).map(str) | st.just("*/20") | st.just("5,50"),
    hour=field(0, 23),
    day=field(1, 28),
    month=field(1, 12),
    weekday=field(0, 6),
)
def test_a_backup_that_keeps_its_cron_never_breaks_its_default_rpo(minute, hour, day, month, weekday):
    cron = f"{minute} {hour} {day} {month} {weekday}"
    rpo = BackupPolicy(target="a/b", source=SOURCE, cron=cron).effective_rpo
    slots = croniter(cron, datetime(2025, 3, 1, tzinfo=UTC))
    before = slots.get_next(datetime)
    for _ in range(60):
        after = slots.get_next(datetime)
        assert after - before <= rpo
        before = after


@pytest.mark.parametrize(
    ("cron", "rpo"),
    [
        ("0 2 * * *", timedelta(hours=36)),
        ("0 2 * * 1-5", timedelta(days=4.5)),
        ("0 2 1 * *", timedelta(days=46.5)),
        ("0 2 29 2 *", timedelta(days=2191.5)),
    ],
)
def test_the_default_rpo_is_the_longest_gap_and_a_half(cron, rpo):
    assert BackupPolicy(target="a/b", source=SOURCE, cron=cron).effective_rpo == rpo


def test_a_declared_rpo_stands():
    assert BackupPolicy(target="a/b", source=SOURCE, rpo=timedelta(hours=1)).effective_rpo == timedelta(hours=1)
