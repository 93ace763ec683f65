"""Snapshot keys and moments, as people and partitions read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from backup_orchestration.core.snapshot import KEY_PATTERN, rfc3339, snapshot_key

MOMENTS = st.integers(10**9, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def test_a_key_is_in_utc_whatever_the_clock_says():
    moment = datetime(2026, 11, 23, 1, 0, 3, tzinfo=timezone(timedelta(hours=-1)))
    assert snapshot_key(moment, "44e3a3c7" + "0" * 56) == "20261123T020003Z-44e3a3c7"
    assert rfc3339(moment) == "2026-11-23T02:00:03Z"
    assert rfc3339(None) is None


@given(st.lists(MOMENTS, min_size=2, max_size=2).map(sorted))
def test_keys_sort_by_time_and_match_their_pattern(moments):
    older, newer = (snapshot_key(moment, "0123456789ab") for moment in moments)
    assert older <= newer
    assert KEY_PATTERN.fullmatch(older)


def test_a_key_leaves_out_the_date_that_a_tool_writes_into_its_ids():
    noon = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    full, later = "20261125-120000F", "20261125-120000F_20261125-130000D"
    assert snapshot_key(noon, full) == "20261125T120000Z-120000F"
    assert snapshot_key(noon, later) == "20261125T120000Z-130000D"
    assert KEY_PATTERN.fullmatch(snapshot_key(noon, full))
    # What is known only by its key, is known by the same key.
    assert snapshot_key(noon, snapshot_key(noon, later).partition("-")[2]) == snapshot_key(noon, later)
