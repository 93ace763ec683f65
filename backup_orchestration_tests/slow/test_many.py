"""Very much of what is small, and what unpacks to very much: it comes back, and the memory stays bounded."""

import os
import time

import pytest
from hostile import HEADING, bomb, many_members, peak_growth

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


def test_two_hundred_thousand_small_files(site, matrix, sampled):
    folders = 200 if sampled(200) == 200 else 20
    for number in range(folders):
        folder = site.root / "data" / f"{number:03}"
        folder.mkdir()
        for inner in range(1000):
            (folder / f"{inner:03}.txt").write_text(f"{number} {inner}\n")
    seconds = [time.monotonic()]
    site.backup()
    seconds.append(time.monotonic())
    found = []
    grown = peak_growth(lambda: found.append(site.restore_test()))
    seconds.append(time.monotonic())
    (evidence,) = found
    took = f"backup {seconds[1] - seconds[0]:.0f} s, restore test {seconds[2] - seconds[1]:.0f} s"
    matrix(
        HEADING,
        f"restic: {folders * 1000:,} small files",
        "files",
        f"{evidence.probes[1].summary}; {took}; {grown >> 20} MiB",
    )
    assert evidence.passed, evidence.reason
    assert evidence.counts["files"] == folders * 1000 + 2
    assert grown < 500_000_000
    assert list((site.root / ".homelab/labs").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("ten gigabytes that are no documents", lambda: bomb("indexes/films/other", 10)),
        ("a million members", lambda: many_members(1_000_000)),
    ],
)
def test_a_dump_that_unpacks_to_very_much(tmp_path, matrix, name, make):
    from backup_orchestration.probes.documents import _count

    path = tmp_path / "a.dump"
    path.write_bytes(make())
    started = time.monotonic()
    found = []
    grown = peak_growth(lambda: found.append(_count(path)))
    matrix(HEADING, f"dump: {name}", "documents", f"{time.monotonic() - started:.0f} s, {grown >> 20} MiB")
    assert found == [{}]
    assert grown < 60_000_000
    os.unlink(path)
