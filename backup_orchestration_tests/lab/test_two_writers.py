"""Acceptance: command line and daemon never write into one repository at once, and into two they do.

Three rounds; `slow/test_twenty_rounds.py` plays them all.
"""

import pytest
from fakes import behave, records
from writers import Writers, overlap, play

pytestmark = [pytest.mark.tools, pytest.mark.slow, pytest.mark.usefixtures("restic")]


def test_three_rounds_and_two_targets(site, dagster_home, start_repository, matrix):
    writers = Writers(site, dagster_home, start_repository)
    with writers.daemon():
        overlaps, waits = play(writers, 3)
        matrix("Two writers", "3 rounds", f"{overlaps} overlaps", f"the second waited in {waits}")
        assert (overlaps, waits) == (0, 3)
        # Each goes on only when the other is inside too.
        both = {"meet": len(records(site, "started.jsonl")) + 2}
        behave(site, app_files=both, app_other=both)
        runs = writers.queue("app/files"), writers.command("app/other")
        writers.end(*runs)
    one, other = records(site, "spans.jsonl")[-2:]
    assert {one["target"], other["target"]} == {"app/files", "app/other"}
    assert one["pid"] != other["pid"]
    assert overlap(one, other)
