"""Protection: what may be called fresh, and what never may."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from records import NOW, evidence, snapshot

from backup_orchestration.core.evidence import Ledger, Lost
from backup_orchestration.core.status import Assessment, Protection, Verdict, assess

RPO = timedelta(hours=24)
POOL = [snapshot(hours, number=number) for number, hours in enumerate((-30, -1, 0, 1, 1, 5, 23, 24, 25, 48, 700))]


def ledger(*tests, lost=(), problems=()) -> Ledger:
    """A ledger of `(snapshot, passed)`, in this order; numbers that `lost` has are left out of it."""
    gone = {item.sequence for item in lost}
    numbers = [number for number in range(1, len(tests) + len(gone) + 1) if number not in gone]
    records = [
        evidence(of, passed=passed).model_copy(update={"sequence": number})
        for number, (of, passed) in zip(numbers, tests, strict=True)
    ]
    return Ledger(records=tuple(records), lost=tuple(lost), problems=tuple(problems))


def judge(listed, *tests, lost=(), problems=(), rpo=RPO) -> Assessment:
    return assess(listed, ledger(*tests, lost=lost, problems=problems), rpo, NOW)


@st.composite
def histories(draw, always=()):
    """Snapshots that are listed, and what the evidence store still tells of the restore tests that were made.

    What is in `always` is listed and passed its first restore test.
    """
    listed = [*always, *draw(st.lists(st.sampled_from(POOL), unique_by=lambda item: item.key))]
    tests = st.tuples(st.sampled_from([*always, *POOL]), st.booleans())
    made = [*((item, True) for item in always), *draw(st.lists(tests, max_size=12))]
    deleted = draw(st.sets(st.integers(1, len(made)))) if made else set()
    known = draw(st.booleans())
    lost = [
        Lost(
            sequence=number,
            snapshot_key=made[number - 1][0].key if known else None,
            passed=made[number - 1][1] if known else None,
        )
        for number in sorted(deleted)
    ]
    kept = [test for number, test in enumerate(made, start=1) if number not in deleted]
    return listed, ledger(*kept, lost=lost)


def last_passes(item, found: Ledger) -> list[bool]:
    return [record.passed for record in found.records if record.snapshot_key == item.key]


@given(histories())
def test_the_recovery_point_is_the_newest_listed_snapshot_that_passed_last(history):
    listed, found = history
    assessment = assess(listed, found, RPO, NOW)
    failed_and_deleted = {(lost.snapshot_key, lost.sequence) for lost in found.lost if lost.passed is False}

    def counts(item) -> bool:
        about = [record for record in found.records if record.snapshot_key == item.key]
        if not about or not about[-1].passed or item.taken_at > NOW + timedelta(minutes=10):
            return False
        return not any(key == item.key and number > about[-1].sequence for key, number in failed_and_deleted)

    good = [item for item in listed if counts(item)]
    newest = max(good, key=lambda item: (item.taken_at, item.snapshot_id), default=None)
    assert assessment.recovery_point == newest


@given(histories())
def test_never_fresh_without_a_pass_of_what_is_there_and_young_enough(history):
    listed, found = history
    assessment = assess(listed, found, RPO, NOW)
    passed = [item for item in listed if True in last_passes(item, found)]
    if assessment.protection is Protection.FRESH:
        assert assessment.recovery_point in passed
        assert NOW - assessment.recovery_point.taken_at <= RPO
    if not passed:
        assert assessment.protection in (Protection.NEVER, Protection.SUSPECT)


@given(histories())
def test_suspect_until_the_recovery_point_passed_after_every_failure(history):
    listed, found = history
    assessment = assess(listed, found, RPO, NOW)
    failures = [key for key, verdict in assessment.verdicts.items() if verdict is Verdict.FAILED]
    assert sorted(failures) == sorted(assessment.suspect_keys)
    if not failures:
        assert assessment.protection is not Protection.SUSPECT
        return
    told = [(item.snapshot_key, item.sequence, item.passed) for item in (*found.records, *found.lost)]
    last_failure = max(number for key, number, passed in told if key in failures and passed is False)
    point = assessment.recovery_point
    again = [record.sequence for record in found.records if point and record.snapshot_key == point.key]
    assert (assessment.protection is Protection.SUSPECT) == (not again or again[-1] < last_failure)


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_in_which_a_repository_lists_does_not_matter(history, random: Random):
    listed, found = history
    shuffled, lost = list(listed), list(found.lost)
    random.shuffle(shuffled)
    random.shuffle(lost)
    assert assess(shuffled, found.model_copy(update={"lost": tuple(lost)}), RPO, NOW) == assess(listed, found, RPO, NOW)


@given(histories(always=[snapshot(0.5, number=90), snapshot(60, number=91)]), st.data())
def test_verifying_an_old_snapshot_again_changes_nothing(history, data):
    listed, found = history
    before = assess(listed, found, RPO, NOW)
    point = before.recovery_point
    older = [item for item in listed if point and item.taken_at < point.taken_at]
    again = [item for item in older if before.verdicts[item.key] is not Verdict.FAILED]
    assume(again)
    number = 1 + max(item.sequence for item in (*found.records, *found.lost))
    more = evidence(data.draw(st.sampled_from(again))).model_copy(update={"sequence": number})
    after = assess(listed, found.model_copy(update={"records": (*found.records, more)}), RPO, NOW)
    changed = (after.recovery_point, after.protection, after.suspect_keys)
    assert changed == (point, before.protection, before.suspect_keys)


@given(histories())
def test_taking_another_snapshot_verifies_nothing(history):
    listed, found = history
    new = snapshot(0.5, number=99)
    before, after = assess(listed, found, RPO, NOW), assess([new, *listed], found, RPO, NOW)
    assert (after.recovery_point, after.protection) == (before.recovery_point, before.protection)
    assert after.verdicts[new.key] is Verdict.UNTESTED


@given(histories(), st.integers(0, 2000))
def test_time_alone_never_makes_a_target_fresher(history, hours):
    listed, found = history
    listed = [item for item in listed if item.taken_at <= NOW]
    ranks = [Protection.FRESH, Protection.STALE]
    now, later = (assess(listed, found, RPO, NOW + timedelta(hours=wait)).protection for wait in (0, hours))
    assert later is now or (now, later) == tuple(ranks)


YOUNG, OLD = snapshot(1), snapshot(30)


@pytest.mark.parametrize(
    ("listed", "tests", "protection", "reason"),
    [
        ([], [], Protection.NEVER, "no snapshot"),
        ([YOUNG], [], Protection.NEVER, "no snapshot has passed a restore test"),
        ([YOUNG], [(YOUNG, True)], Protection.FRESH, ""),
        ([OLD], [(OLD, True)], Protection.STALE, "the newest verified data is 30.0 h old, the RPO is 24.0 h"),
        ([YOUNG, OLD], [(OLD, True)], Protection.STALE, f"{YOUNG.key} is newer and not verified"),
        ([YOUNG], [(YOUNG, False)], Protection.SUSPECT, "files: /data/a is missing; nothing is pruned"),
        ([YOUNG], [(YOUNG, False), (YOUNG, True)], Protection.FRESH, ""),
        ([YOUNG, OLD], [(YOUNG, True), (OLD, False)], Protection.SUSPECT, f"{OLD.key} failed its restore test"),
        ([YOUNG, OLD], [(OLD, False), (YOUNG, True)], Protection.FRESH, f"{OLD.key} failed its restore test"),
        ([YOUNG, OLD], [(YOUNG, False), (OLD, False)], Protection.SUSPECT, "(and 1 more)"),
        (
            [OLD],
            [(OLD, True), (YOUNG, True)],
            Protection.STALE,
            f"{YOUNG.key} was tested and is no longer in the repository",
        ),
        ([], [(YOUNG, True)], Protection.NEVER, f"{YOUNG.key} was tested and is no longer in the repository"),
        ([YOUNG], [(OLD, False)], Protection.NEVER, "no snapshot has passed"),
    ],
)
def test_protection_and_its_reason(listed, tests, protection, reason):
    found = judge(listed, *tests)
    assert found.protection is protection
    assert reason in found.reason
    assert bool(reason) == bool(found.reason)


def test_the_rpo_is_held_to_the_second():
    assert judge([snapshot(24)], (snapshot(24), True)).protection is Protection.FRESH
    just_over = snapshot(24 + 1 / 3600)
    assert judge([just_over], (just_over, True)).protection is Protection.STALE


def test_a_snapshot_from_the_future_is_no_recovery_point_and_hides_no_other():
    ahead = snapshot(-1)
    found = judge([ahead, YOUNG], (YOUNG, True), (ahead, True))
    assert found.recovery_point == YOUNG
    assert f"{ahead.key} is dated in the future" in found.reason
    alone = judge([ahead], (ahead, True))
    assert (alone.protection, alone.recovery_point) == (Protection.NEVER, None)
    assert alone.reason == f"{ahead.key} is dated in the future"


def test_a_clock_may_be_a_few_minutes_off():
    ahead = snapshot(-5 / 60)
    assert judge([ahead], (ahead, True)).protection is Protection.FRESH


@pytest.mark.parametrize("field", ["snapshot_id", "repository_id", "taken_at"])
def test_evidence_is_about_one_snapshot_of_one_repository(field):
    other = {
        "snapshot_id": YOUNG.snapshot_id[:8] + "f" * 56,
        "repository_id": "repo-2",
        "taken_at": YOUNG.taken_at + timedelta(microseconds=1),
    }
    listed = replace(YOUNG, **{field: other[field]})
    assert listed.key == YOUNG.key
    assert judge([listed], (YOUNG, True)).protection is Protection.NEVER
    assert judge([listed], (YOUNG, False)).protection is Protection.NEVER


def test_a_re_created_repository_is_told_from_the_one_that_was_tested():
    found = judge([replace(YOUNG, repository_id="repo-2")], (OLD, True), (YOUNG, True))
    assert found.recovery_point is None
    assert "2 restore tests were of another repository than the one there now: it was re-created" in found.reason


def test_a_deleted_failure_keeps_the_snapshot_failed():
    lost = Lost(sequence=2, snapshot_key=YOUNG.key, passed=False)
    found = judge([YOUNG], (YOUNG, True), lost=[lost], problems=["evidence 2 is missing"])
    assert found.protection is Protection.SUSPECT
    assert found.verdicts[YOUNG.key] is Verdict.FAILED
    assert "its evidence was deleted" in found.reason
    assert "evidence 2 is missing" in found.reason


def test_a_deleted_failure_is_made_good_by_a_later_pass_only():
    lost = Lost(sequence=1, snapshot_key=YOUNG.key, passed=False)
    assert judge([YOUNG], (YOUNG, True), lost=[lost]).protection is Protection.FRESH


@pytest.mark.parametrize("lost", [Lost(sequence=1, snapshot_key=YOUNG.key, passed=True), Lost(sequence=1)])
def test_a_deleted_pass_is_none(lost):
    assert judge([YOUNG], lost=[lost]).protection is Protection.NEVER


def test_what_was_tested_when():
    found = judge([YOUNG, OLD], (YOUNG, True), (OLD, False))
    assert set(found.tested_at) == {YOUNG.key, OLD.key}
    assert found.last_test.snapshot_key == OLD.key
    assert found.snapshots == (YOUNG, OLD)


@pytest.mark.parametrize(
    ("hours", "words"), [(0.01, "36 s"), (0.5, "30.0 min"), (1.9, "114.0 min"), (30, "30.0 h"), (72, "3.0 d")]
)
def test_ages_are_readable(hours, words):
    item = snapshot(hours)
    assert words in judge([item], (item, True), rpo=timedelta(seconds=30)).reason


def test_a_pass_at_a_later_moment_verifies_nothing_and_heals_nothing():
    taken = snapshot(2)
    later = evidence(taken).model_copy(update={"sequence": 1, "at": NOW})
    found = assess([taken], Ledger(records=(later,)), RPO, NOW)
    assert (found.verdicts[taken.key], found.protection) == (Verdict.UNTESTED, Protection.NEVER)
    failed = evidence(taken, passed=False).model_copy(update={"sequence": 1})
    again = later.model_copy(update={"sequence": 2})
    assert assess([taken], Ledger(records=(failed, again)), RPO, NOW).protection is Protection.SUSPECT


def test_a_failure_at_a_later_moment_counts():
    taken = snapshot(2)
    passed = evidence(taken).model_copy(update={"sequence": 1})
    failed = evidence(taken, passed=False).model_copy(update={"sequence": 2, "at": NOW})
    assert assess([taken], Ledger(records=(passed, failed)), RPO, NOW).protection is Protection.SUSPECT
