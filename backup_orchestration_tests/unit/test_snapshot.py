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
