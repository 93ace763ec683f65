"""The planner: properties on generated histories, and every rule that no count overrules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import NOW, snapshot

from backup_orchestration.core.policy import Retention
from backup_orchestration.core.retention import Circumstances, keep_by_counts, plan
from backup_orchestration.core.snapshot import CLOCK_TOLERANCE

COUNTS = ("keep_last", "keep_daily", "keep_weekly", "keep_monthly")
ZONES = [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia")]
OFFSETS = [timezone(timedelta(minutes=minutes)) for minutes in (-720, -210, 0, 60, 345, 840)]

retentions = st.builds(
    Retention,
    keep_last=st.integers(1, 8),
    keep_daily=st.integers(0, 9),
    keep_weekly=st.integers(0, 6),
    keep_monthly=st.integers(0, 6),
    min_verified=st.integers(1, 3),
)
# Gaps of seconds to months, so that days are empty, full, and cut by a change of the clocks.
gaps = st.lists(st.one_of(st.integers(0, 7200), st.integers(7200, 200_000), st.integers(0, 90 * 86400)), max_size=40)


@st.composite
def histories(draw):
    """Snapshots of the past, from the newest on, some of the same second; and ids of verified ones."""
    moment, made = NOW, []
    for number, gap in enumerate(draw(gaps)):
        moment -= timedelta(seconds=gap)
        made.append(snapshot(0, number=draw(st.integers(0, 1)) * 1000 + number))
        made[-1] = replace(made[-1], taken_at=moment, snapshot_id=f"{made[-1].snapshot_id[:8]}{number:056x}")
    verified = {item.snapshot_id for item in made if draw(st.booleans())}
    return made, verified


def ids(snapshots):
    return [item.snapshot_id for item in snapshots]


@given(histories(), retentions, st.sampled_from(ZONES), st.randoms(use_true_random=False))
def test_every_snapshot_is_decided_on_once_whatever_the_order(history, retention, zone, random):
    made, verified = history
    around = Circumstances(zone=zone, verified=verified)
    found = plan("app/files", made, retention, NOW, around)
    assert sorted(ids([*found.kept, *found.removed])) == sorted(ids(made))
    assert all(bool(item.reasons) == item.keep for item in found.decisions)
    random.shuffle(made)
    assert plan("app/files", made, retention, NOW, around) == found


@given(histories(), retentions, st.sampled_from(ZONES))
def test_what_was_pruned_is_not_pruned_further(history, retention, zone):
    made, verified = history
    around = Circumstances(zone=zone, verified=verified)
    once = plan("app/files", made, retention, NOW, around)
    twice = plan("app/files", once.kept, retention, NOW, around)
    assert twice.removed == ()


@given(histories(), retentions, st.sampled_from(COUNTS), st.integers(1, 5))
def test_a_higher_count_keeps_all_that_a_lower_one_kept(history, retention, name, more):
    made, verified = history
    around = Circumstances(verified=verified)
    higher = retention.model_copy(update={name: getattr(retention, name) + more})
    kept = {item.snapshot_id for item in plan("app/files", made, retention, NOW, around).kept}
    more_kept = {item.snapshot_id for item in plan("app/files", made, higher, NOW, around).kept}
    assert kept <= more_kept


@given(histories(), retentions)
def test_the_newest_the_recovery_point_and_min_verified_stay(history, retention):
    made, verified = history
    found = plan("app/files", made, retention, NOW, Circumstances(verified=verified))
    newest_first = sorted(made, key=lambda item: (item.taken_at, item.snapshot_id), reverse=True)
    wanted = [item for item in newest_first if item.snapshot_id in verified][: retention.min_verified]
    assert {*ids(newest_first[:1]), *ids(wanted)} <= set(ids(found.kept))
    if len(verified) < retention.min_verified:
        assert found.halted and not found.removed
    else:
        assert not found.halted and not found.withheld


@given(histories(), retentions, st.data())
def test_what_a_kept_one_builds_on_stays(history, retention, data):
    made, _ = history
    built = []
    for place, item in enumerate(made):  # newest first: it may build on any older one
        older = ids(made[place + 1 :])
        needs = data.draw(st.lists(st.sampled_from(older), max_size=2, unique=True)) if older else []
        built.append(replace(item, needs=tuple(needs)))
    found = plan("app/files", built, retention, NOW, Circumstances(verified=set(ids(built))))
    kept = set(ids(found.kept))
    assert all(set(item.needs) <= kept for item in found.kept)


@given(histories(), retentions, st.integers(1, 5))
def test_what_is_dated_in_the_future_stays_and_takes_no_place(history, retention, count):
    made, verified = history
    ahead = [
        replace(snapshot(0), taken_at=NOW + CLOCK_TOLERANCE + timedelta(days=n, seconds=1), snapshot_id=f"f{n:063x}")
        for n in range(count)
    ]
    around = Circumstances(verified={*verified, *ids(ahead)})
    found = plan("app/files", [*made, *ahead], retention, NOW, around)
    without = plan("app/files", made, retention, NOW, Circumstances(verified=verified))
    assert {item.snapshot.snapshot_id: item for item in found.decisions if item.snapshot in made} == {
        item.snapshot.snapshot_id: item for item in without.decisions
    }
    assert [item.reasons for item in found.decisions[:count]] == [("dated in the future, not counted",)] * count
    assert found.halted == without.halted  # one from the future is no recovery point


@given(histories(), retentions, st.sampled_from(["suspect", "cut short"]))
def test_nothing_goes_while_something_halts_it(history, retention, why):
    made, verified = history
    found = plan("app/files", made, retention, NOW, Circumstances(verified=verified, halted=(why,)))
    freely = plan("app/files", made, retention, NOW, Circumstances(verified=set(ids(made))))
    assert found.removed == () and found.halted[0] == why
    assert set(ids(freely.removed)) - verified <= set(ids(found.withheld))


@given(histories(), retentions, st.data())
def test_what_is_protected_stays_with_its_reason(history, retention, data):
    made, verified = history
    chosen = data.draw(st.lists(st.sampled_from(ids(made)), unique=True)) if made else []
    around = Circumstances(verified=verified, protected=dict.fromkeys(chosen, "being restored"))
    found = plan("app/files", made, retention, NOW, around)
    told = {item.snapshot.snapshot_id: item for item in found.decisions}
    assert all(told[identity].keep and told[identity].reasons[-1] == "being restored" for identity in chosen)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=4),
        st.tuples(st.integers(0, 400 * 86400), st.sampled_from(OFFSETS)),
        max_size=30,
    ),
    st.sampled_from(COUNTS),
    st.integers(1, 12),
)
def test_one_rule_keeps_at_most_its_count_and_fills_it_where_it_can(drawn, name, count):
    """Held against the definition: the newest of each bucket on the way back, then the oldest where places are left."""
    moments = {key: (NOW - timedelta(seconds=ago)).astimezone(zone) for key, (ago, zone) in drawn.items()}
    counts = {**dict.fromkeys(COUNTS, 0), name: count}
    kept = keep_by_counts(moments, Retention(**counts))
    order = sorted(moments, key=lambda key: (moments[key], key), reverse=True)
    expected = []
    for key in order:
        if not expected or bucket(name, key, moments) != bucket(name, expected[-1], moments):
            expected.append(key)
    expected = expected[:count]
    if order and len(expected) < count and expected[-1] != order[-1]:
        expected.append(order[-1])
    assert sorted(kept) == sorted(expected)


def bucket(name, key, moments):
    moment = moments[key]
    return {
        "keep_last": key,
        "keep_daily": moment.date(),
        "keep_weekly": moment.strftime("%G-%V"),
        "keep_monthly": moment.strftime("%Y-%m"),
    }[name]


def test_days_are_those_of_the_policys_zone():
    """02:30 in Berlin of the night in which the clocks go back comes twice, and both are of one day."""
    berlin = ZoneInfo("Europe/Berlin")
    nights = [datetime(2026, 10, 24, 22, 30, tzinfo=UTC), datetime(2026, 10, 25, 22, 30, tzinfo=UTC)]
    made = [replace(snapshot(), taken_at=moment, snapshot_id=f"{n:064x}") for n, moment in enumerate(nights)]
    only_daily = Retention(keep_last=0, keep_daily=1, keep_weekly=0, keep_monthly=0)
    around = {"verified": {f"{1:064x}"}}
    assert plan("a/b", made, only_daily, NOW, Circumstances(berlin, **around)).removed == (made[0],)
    days = [moment.astimezone(berlin).date() for moment in nights]
    assert days == [date(2026, 10, 25)] * 2
    two_days = Retention(keep_last=0, keep_daily=2, keep_weekly=0, keep_monthly=0)
    in_utc = plan("a/b", made, two_days, NOW, Circumstances(UTC, **around))
    assert [item.reasons for item in in_utc.decisions] == [("daily snapshot", "recovery point"), ("daily snapshot",)]
    in_berlin = plan("a/b", made, two_days, NOW, Circumstances(berlin, **around))
    assert in_berlin.decisions[1].reasons == ("oldest daily snapshot",)


@pytest.mark.parametrize(
    ("verified", "min_verified", "why"),
    [
        (0, 1, ("no snapshot is verified",)),
        (1, 2, ("1 verified, and the policy wants min_verified = 2 to be left",)),
        (2, 2, ()),
    ],
)
def test_why_too_few_are_verified(verified, min_verified, why):
    made = [snapshot(hours) for hours in (1, 2, 3, 4)]
    retention = Retention(keep_last=1, keep_daily=0, keep_weekly=0, keep_monthly=0, min_verified=min_verified)
    found = plan("a/b", made, retention, NOW, Circumstances(verified=set(ids(made)[2 : 2 + verified])))
    assert found.halted == why
    assert [item.key for item in found.withheld] == ([item.key for item in made[1:]] if why and not verified else
                                                    [made[1].key, made[3].key] if why else [])  # fmt: skip


@pytest.mark.parametrize(("last", "over"), [(5, False), (4, True), (1, True)])
def test_more_than_half_is_over_the_cap(last, over):
    made = [snapshot(hours) for hours in range(1, 11)]
    retention = Retention(keep_last=last, keep_daily=0, keep_weekly=0, keep_monthly=0)
    found = plan("a/b", made, retention, NOW, Circumstances(verified={made[0].snapshot_id}))
    assert (len(found.removed), found.over_cap) == (10 - last, over)
