"""Notes in the chain of evidence: what vanished, changed or was removed, and what that does to a verdict."""

from __future__ import annotations

import pytest
from records import DESTINATION, NOW, TARGET, evidence, snapshot

from backup_orchestration.core.evidence import Note, What
from backup_orchestration.core.evidence_store import EvidenceStore
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.reconciliation import findings
from backup_orchestration.core.sources import Files
from backup_orchestration.core.status import assess
from backup_orchestration.operations.known import gone, known_snapshots
from backup_orchestration.stores.directory import DirectoryObjects

HOUR = NOW - NOW.replace(hour=11)


@pytest.fixture
def store(tmp_path):
    return EvidenceStore(DirectoryObjects(tmp_path), "key")


def note(what, *of):
    keys = tuple(item.key for item in of)
    return Note(target=TARGET, destination=DESTINATION, what=what, snapshot_keys=keys, at=NOW, reason="why")


def ledger(store):
    return store.ledger(TARGET, DESTINATION)


def verdict(store, of):
    return assess([of], ledger(store), HOUR * 24, NOW).verdicts[of.key]


def test_tests_and_notes_are_one_chain(store):
    one, two = snapshot(2), snapshot(1)
    store.append(evidence(one))
    store.note([note(What.VANISHED, one), note(What.REMOVED, one, two)])
    store.append(evidence(two))
    found = ledger(store)
    assert [item.sequence for item in found.records] == [1, 4] and [item.sequence for item in found.notes] == [2, 3]
    assert found.problems == () and found.notes[1].previous.sequence == 2


@pytest.mark.parametrize(
    ("what", "expected"), [("vanished", "untested"), ("changed", "untested"), ("removed", "verified")]
)
def test_what_a_note_does_to_a_pass(store, what, expected):
    one = snapshot(1)
    store.append(evidence(one))
    store.note([note(What(what), one)])
    assert verdict(store, one) == expected
    store.append(evidence(one))
    assert verdict(store, one) == "verified" and gone(ledger(store)) == set()


def test_no_note_makes_a_failure_good(store):
    one = snapshot(1)
    store.append(evidence(one, passed=False))
    store.note([note(What.VANISHED, one)])
    assert verdict(store, one) == "failed"


def test_a_note_that_is_deleted_does_not_give_the_pass_back(store, tmp_path):
    one = snapshot(1)
    store.append(evidence(one))
    store.note([note(What.VANISHED, one)])
    next(tmp_path.rglob("00000002.evidence")).unlink()
    assert verdict(store, one) == "failed"
    assert any("is missing" in line for line in ledger(store).problems)


def test_a_deleted_note_of_retention_leaves_the_verdicts(store, tmp_path):
    one, two = snapshot(2), snapshot(1)
    store.append(evidence(one))
    store.note([note(What.REMOVED, two)])
    next(tmp_path.rglob("00000002.evidence")).unlink()
    assert verdict(store, one) == "verified" and ledger(store).problems


def test_an_edited_note_counts_as_none(store, tmp_path):
    one = snapshot(1)
    store.note([note(What.REMOVED, one)])
    path = next(tmp_path.rglob("00000001.evidence"))
    path.write_bytes(path.read_bytes().replace(b"removed", b"changed"))
    assert ledger(store).notes == () and "authentication" in ledger(store).problems[0]


def test_what_is_found(store):
    there, lost, never, pruned, bigger = (snapshot(hours) for hours in (5, 4, 3, 2, 1))
    for item in (there, lost, pruned):
        store.append(evidence(item))
    store.append(evidence(bigger).model_copy(update={"size_bytes": bigger.size_bytes + 1}))
    store.note([note(What.REMOVED, pruned)])
    remembered = [item.key for item in (there, lost, never, pruned, bigger)]
    found = findings([there, bigger], ledger(store), remembered)
    assert [(item.what, item.key) for item in found] == [
        ("vanished", lost.key), ("vanished", never.key), ("changed", bigger.key),
    ]  # fmt: skip
    assert found[1].reason.endswith("it was never tested") and "another size" in found[2].reason
    store.note([note(item.what, {lost.key: lost, never.key: never, bigger.key: bigger}[item.key]) for item in found])
    assert findings([there, bigger], ledger(store), remembered) == []
    assert findings([there], ledger(store), remembered)[0].what == "vanished"  # changed first, and then gone


def test_a_removed_one_that_was_tested_since_and_then_vanished_is_a_loss(store):
    one = snapshot(1)
    store.note([note(What.REMOVED, one)])
    store.append(evidence(one))
    assert [item.key for item in findings([], ledger(store), [])] == [one.key]


def test_a_record_of_before_sizes_were_kept_still_counts(store):
    one = snapshot(1)
    assert evidence(one).size_bytes is None
    store.append(evidence(one))
    assert verdict(store, one) == "verified"


def test_alerts_and_retention_do_not_count_on_what_is_gone(store, tmp_path):
    """They ask no repository: a snapshot that vanished would be the newest to them for ever."""
    one, lost, pruned, other = (snapshot(hours) for hours in (4, 3, 2, 1))
    store.append(evidence(one))
    store.note([note(What.VANISHED, lost), note(What.REMOVED, pruned), note(What.CHANGED, other)])
    policy = BackupPolicy(target=TARGET, source=Files(path=tmp_path))
    known = known_snapshots(policy, [item.key for item in (one, lost, pruned, other)], ledger(store))
    assert [item.key for item in known] == [one.key, other.key]
