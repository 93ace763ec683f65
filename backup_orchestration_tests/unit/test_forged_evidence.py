"""A forger wants a damaged target to look protected. He can write to the evidence store and has no key."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from records import DESTINATION, NOW, TARGET, evidence, snapshot

from backup_orchestration.core.evidence_store import EvidenceStore
from backup_orchestration.core.status import Protection, Verdict, assess
from backup_orchestration.stores.directory import DirectoryObjects

GOOD, BAD = snapshot(20), snapshot(2)


@pytest.fixture
def root(tmp_path):
    """Where the older snapshot passed and the newer one failed, and something passed in another target too."""
    store = EvidenceStore(DirectoryObjects(tmp_path), "the key")
    store.append(evidence(GOOD))
    store.append(evidence(BAD, passed=False))
    store.append(evidence(replace(BAD, target="app/db")))
    store.append(evidence(BAD, destination="far"))
    return tmp_path


def judge(root, *listed):
    ledger = EvidenceStore(DirectoryObjects(root), "the key").ledger(TARGET, DESTINATION)
    return assess(listed or (GOOD, BAD), ledger, timedelta(hours=24), NOW)


def record(root, number, target=TARGET, destination=DESTINATION):
    return root / target / destination / f"{number:08d}.evidence"


def edit_the_verdict(root):
    path = record(root, 2)
    path.write_bytes(path.read_bytes().replace(b'"passed":false', b'"passed":true', 1))


def edit_the_snapshot(root):
    path = record(root, 1)
    path.write_bytes(path.read_bytes().replace(GOOD.key.encode(), BAD.key.encode()))
    record(root, 2).unlink()


def re_date(root):
    path = record(root, 1)
    path.write_bytes(path.read_bytes().replace(b"2026-11-22T16", b"2026-11-23T11"))


def delete_the_failure(root):
    record(root, 2).unlink()


def delete_everything_but_the_head(root):
    record(root, 1).unlink()
    record(root, 2).unlink()


def rename_a_pass_over_the_failure(root):
    record(root, 1).rename(record(root, 2))


def copy_a_pass_behind_the_failure(root):
    record(root, 3).write_bytes(record(root, 1).read_bytes())


def copy_from_another_target(root):
    record(root, 3).write_bytes(record(root, 1, "app/db").read_bytes())


def copy_from_another_destination_in_its_place(root):
    record(root, 1).write_bytes(record(root, 1, destination="far").read_bytes())
    record(root, 2).unlink()


def copy_the_head_of_another_destination(root):
    (record(root, 1).parent / "head.evidence").write_bytes(
        (record(root, 1, destination="far").parent / "head.evidence").read_bytes()
    )


def write_with_another_key(root):
    forger = EvidenceStore(DirectoryObjects(root), "a guess")
    forger.append(evidence(BAD))


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (edit_the_verdict, "evidence 00000002 counts as none: its authentication does not match: edited"),
        (edit_the_snapshot, "evidence 00000001 counts as none: its authentication does not match: edited"),
        (re_date, "evidence 00000001 counts as none: its authentication does not match: edited"),
        (delete_the_failure, f"evidence 00000002, which failed {BAD.key}, is missing: deleted or lost"),
        (delete_everything_but_the_head, f"evidence 00000002, which failed {BAD.key}, is missing: deleted or lost"),
        (rename_a_pass_over_the_failure, f"it was written as number 1, for {GOOD.key}"),
        (copy_a_pass_behind_the_failure, "evidence 00000003 counts as none: it was written as number 1"),
        (copy_from_another_target, "evidence 00000003 counts as none: it was written for app/db"),
        (
            copy_from_another_destination_in_its_place,
            "evidence 00000001 counts as none: it was written for app/files in far",
        ),
        (copy_the_head_of_another_destination, "the head record is missing or not authentic"),
        (write_with_another_key, "or written with another key"),
    ],
)
def test_a_failed_snapshot_stays_failed_and_it_is_said_what_was_done(root, forge, why):
    before = judge(root)
    assert (before.protection, before.verdicts[BAD.key]) == (Protection.SUSPECT, Verdict.FAILED)
    assert why not in before.reason
    forge(root)
    after = judge(root)
    assert (after.protection, after.verdicts[BAD.key]) == (Protection.SUSPECT, Verdict.FAILED)
    assert why in after.reason


def test_a_deleted_failure_stays_when_restore_tests_go_on(root):
    record(root, 2).unlink()
    newer = snapshot(1)
    EvidenceStore(DirectoryObjects(root), "the key").append(evidence(newer))
    found = judge(root, newer, GOOD, BAD)
    assert found.verdicts[BAD.key] is Verdict.FAILED
    assert found.suspect_keys == (BAD.key,)
    assert f"which failed {BAD.key}, is missing" in found.reason


def test_evidence_of_a_repository_that_was_made_anew_counts_as_none(root):
    found = judge(root, *(replace(item, repository_id="another") for item in (GOOD, BAD)))
    assert found.protection is Protection.NEVER
    assert "it was re-created" in found.reason


def test_a_pass_of_another_snapshot_of_the_same_second_counts_as_none(root):
    twin = replace(GOOD, snapshot_id=GOOD.snapshot_id[:8] + "0" * 56)
    assert twin.key == GOOD.key
    assert judge(root, twin).protection is Protection.NEVER
