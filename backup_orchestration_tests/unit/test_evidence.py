"""Evidence: what somebody did to the store counts as nothing, and the ledger says why.

The forger of these tests can write to the evidence store and to the backups, and does not have the key.
"""

from __future__ import annotations

import json

import pytest
from records import DESTINATION, TARGET, evidence, snapshot

from backup_orchestration.core.errors import EvidenceError
from backup_orchestration.core.evidence import Ledger
from backup_orchestration.core.evidence_store import EvidenceStore
from backup_orchestration.stores.directory import DirectoryObjects

OLD, MIDDLE, NEW = (snapshot(hours) for hours in (30, 20, 10))
PLACE = f"{TARGET}/{DESTINATION}"


class Store(EvidenceStore):
    """An evidence store in a directory, with what a forger can do to its files."""

    def __init__(self, root, key="the key"):
        super().__init__(DirectoryObjects(root), key)
        self.place = root / PLACE

    def test(self, *tested, passed=True, **fields):
        return [self.append(evidence(item, passed=passed, **fields)) for item in tested]

    def file(self, number):
        return self.place / f"{number:08d}.evidence"

    @property
    def head(self):
        return self.place / "head.evidence"

    def read(self) -> Ledger:
        return self.ledger(TARGET, DESTINATION)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "evidence")


@pytest.fixture
def three(store):
    """Restore tests of OLD, MIDDLE and NEW, all passed."""
    store.test(OLD, MIDDLE, NEW)
    return store


def keys(ledger: Ledger) -> list[str]:
    return [record.snapshot_key for record in ledger.records]


def edit(path, change) -> None:
    """Change the JSON of a record and leave its authentication as it was."""
    body, mac = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps(json.loads(body) | change).encode() + b"\n" + mac)


def test_what_was_appended_is_read_back_in_order(store):
    appended = store.test(OLD, MIDDLE) + store.test(NEW, passed=False)
    found = store.read()
    assert list(found.records) == appended
    assert [record.sequence for record in found.records] == [1, 2, 3]
    assert [record.previous and record.previous.snapshot_key for record in appended] == [None, OLD.key, MIDDLE.key]
    assert (found.lost, found.problems) == ((), ())


def test_of_a_target_that_was_never_tested_nothing_is_known(store):
    assert store.read() == Ledger()


def test_targets_and_destinations_do_not_mix(three):
    three.append(evidence(OLD, destination="far"))
    three.append(evidence(snapshot(5, target="app/db")))
    assert keys(three.ledger(TARGET, "far")) == [OLD.key]
    assert keys(three.read()) == [OLD.key, MIDDLE.key, NEW.key]


@pytest.mark.parametrize(
    ("number", "left"), [(1, [MIDDLE.key, NEW.key]), (2, [OLD.key, NEW.key]), (3, [OLD.key, MIDDLE.key])]
)
@pytest.mark.parametrize(
    "change",
    [{"passed": False}, {"taken_at": "2026-11-23T11:00:00Z"}, {"finished_at": "2027-01-01T00:00:00Z"}, {}],
    ids=["verdict", "re-dated", "tested-later", "only-spaces"],
)
def test_an_edited_record_counts_as_none(three, number, left, change):
    edit(three.file(number), change)
    found = three.read()
    assert keys(found) == left
    assert f"evidence {number:08d} counts as none" in found.problems[0]
    assert "edited" in found.problems[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}", b"not json\nnot a mac\n", b"\xff\xfe\n\xff", b"{}\n" + b"0" * 64],
    ids=["empty", "newline", "one-line", "garbage", "binary", "guessed-mac"],
)
@pytest.mark.parametrize("name", ["00000002", "head"])
def test_a_file_that_is_no_record_is_said(three, content, name):
    (three.place / f"{name}.evidence").write_bytes(content)
    found = three.read()
    assert keys(found) == ([OLD.key, MIDDLE.key, NEW.key] if name == "head" else [OLD.key, NEW.key])
    assert name in found.problems[0]


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("passed", [True, False])
def test_of_a_deleted_record_it_is_known_what_it_was(store, number, passed):
    tested = [OLD, MIDDLE, NEW]
    for position, item in enumerate(tested, start=1):
        store.test(item, passed=passed if position == number else True)
    store.file(number).unlink()
    found = store.read()
    (lost,) = found.lost
    gone = tested[number - 1]
    assert (lost.sequence, lost.snapshot_key, lost.passed) == (number, gone.key, passed)
    assert keys(found) == [item.key for item in tested if item is not gone]
    said = f"evidence {number:08d}, which {'passed' if passed else 'failed'} {gone.key}, is missing: deleted or lost"
    assert found.problems == (said,)


def test_two_neighbours_deleted_are_both_missed(three):
    three.file(1).unlink()
    three.file(2).unlink()
    found = three.read()
    assert [(item.sequence, item.snapshot_key) for item in found.lost] == [(1, None), (2, MIDDLE.key)]
    assert keys(found) == [NEW.key]


def test_everything_but_the_head_deleted_is_missed(three):
    for number in (1, 2, 3):
        three.file(number).unlink()
    found = three.read()
    assert found.records == ()
    assert [item.snapshot_key for item in found.lost] == [None, None, NEW.key]


@pytest.mark.parametrize("how", ["deleted", "edited"])
def test_a_head_that_is_gone_is_said_and_the_records_stand(three, how):
    three.head.unlink() if how == "deleted" else edit(three.head, {"sequence": 1})
    found = three.read()
    assert keys(found) == [OLD.key, MIDDLE.key, NEW.key]
    assert found.problems == ("evidence: the head record is missing or not authentic",)


def test_a_pass_cannot_be_renamed_into_the_place_of_a_failure(store):
    store.test(OLD)
    store.test(NEW, passed=False)
    store.file(1).rename(store.file(2))
    found = store.read()
    assert found.records == ()
    assert "it was written as number 1" in " ".join(found.problems)
    assert (found.lost[1].snapshot_key, found.lost[1].passed) == (NEW.key, False)


def test_a_pass_cannot_be_copied_behind_a_failure(store):
    store.test(OLD, NEW)
    store.test(NEW, passed=False)
    store.file(4).write_bytes(store.file(2).read_bytes())
    found = store.read()
    assert [(record.sequence, record.passed) for record in found.records] == [(1, True), (2, True), (3, False)]
    assert found.problems == (f"evidence 00000004 counts as none: it was written as number 2, for {NEW.key}",)


@pytest.mark.parametrize(
    "source", [("app/db", DESTINATION), (TARGET, "far")], ids=["another-target", "another-destination"]
)
def test_a_pass_cannot_be_copied_from_elsewhere(store, source):
    target, destination = source
    elsewhere = evidence(snapshot(10, target=target), destination=destination)
    store.append(elsewhere)
    place = store.place.parents[2] / target / destination
    store.place.mkdir(parents=True, exist_ok=True)
    for name in ("00000001.evidence", "head.evidence"):
        (store.place / name).write_bytes((place / name).read_bytes())
    found = store.read()
    assert found.records == ()
    assert f"it was written for {target} in {destination}" in found.problems[0]
    assert "head record is missing or not authentic" in found.problems[1]


def test_what_was_written_with_another_key_counts_as_none(store, tmp_path):
    Store(tmp_path / "evidence", "a guessed key").test(OLD, NEW)
    found = store.read()
    assert found.records == ()
    assert len(found.lost) == 2
    assert "another key" in found.problems[0]


def test_a_record_of_a_later_version_counts_as_none(three):
    body = json.loads(three.file(2).read_bytes().split(b"\n")[0]) | {"signature": "unknown here"}
    three.file(2).write_bytes(three._seal(json.dumps(body)))
    assert three.read().problems[0] == "evidence 00000002 counts as none: it is not a record of this version"


def test_an_authentic_record_that_the_chain_does_not_know_counts_as_none(store, tmp_path):
    """From a copy of the store that went on by itself: both are authentic, and one of them is not of this chain."""
    fork = Store(tmp_path / "fork")
    fork.test(OLD, MIDDLE)
    store.test(OLD)
    store.test(MIDDLE, passed=False)
    store.test(NEW)
    store.file(2).write_bytes(fork.file(2).read_bytes())
    found = store.read()
    assert keys(found) == [OLD.key, NEW.key]
    assert (found.lost[0].snapshot_key, found.lost[0].passed) == (MIDDLE.key, False)


def test_a_forged_file_is_never_overwritten_and_the_chain_goes_on(three):
    three.file(4).write_bytes(b"forged")
    three.file(5).write_bytes(b"forged too")
    (placed,) = three.test(NEW)
    assert placed.sequence == 6
    assert placed.previous.sequence == 3
    assert three.file(4).read_bytes() == b"forged"
    assert three.file(5).read_bytes() == b"forged too"
    found = three.read()
    assert [record.sequence for record in found.records] == [1, 2, 3, 6]
    assert [item.sequence for item in found.lost] == [4, 5]
    assert three.test(NEW)[0].previous.sequence == 6


def test_a_forged_first_file_is_never_overwritten(store):
    store.place.mkdir(parents=True)
    store.file(1).write_bytes(b"forged")
    assert store.test(OLD)[0].sequence == 2
    assert store.file(1).read_bytes() == b"forged"
    assert keys(store.read()) == [OLD.key]


def test_the_chain_goes_on_after_the_last_record_was_deleted(three):
    three.file(3).unlink()
    (placed,) = three.test(NEW, passed=False)
    assert placed.sequence == 4
    assert placed.previous.snapshot_key == NEW.key
    assert [item.sequence for item in three.read().lost] == [3]


def test_the_chain_goes_on_after_the_head_was_deleted(three):
    three.head.unlink()
    (placed,) = three.test(NEW)
    assert (placed.sequence, placed.previous.sequence) == (4, 3)
    assert three.read().problems == ()


def test_a_crash_between_record_and_head_loses_nothing(three):
    before = three.head.read_bytes()
    three.test(OLD)
    three.head.write_bytes(before)
    assert keys(three.read()) == [OLD.key, MIDDLE.key, NEW.key, OLD.key]
    assert three.read().problems == ()
    (placed,) = three.test(MIDDLE)
    assert (placed.sequence, placed.previous.sequence) == (5, 4)


@pytest.mark.parametrize("name", ["99999999999999999999.evidence", f"{'9' * 200}.evidence"])
def test_a_file_cannot_stop_everything_by_its_number(three, name):
    """Whoever can write to the store could otherwise keep every `status` busy for ever."""
    (three.place / name).write_bytes(b"forged")
    found = three.read()
    assert keys(found) == [OLD.key, MIDDLE.key, NEW.key]
    assert len(found.problems) == 1
    assert three.test(NEW)[0].sequence == 4


@pytest.mark.parametrize("name", ["1.evidence", "000000001.evidence", "00000000.evidence", "notes.txt", "².evidence"])
def test_a_file_that_no_restore_test_is_called_is_passed_over(three, name):
    (three.place / name).write_bytes(b"forged")
    assert keys(three.read()) == [OLD.key, MIDDLE.key, NEW.key]
    assert three.read().problems == ()
    assert three.test(NEW)[0].sequence == 4


def test_a_store_that_does_not_give_back_what_was_written_is_an_error(tmp_path, monkeypatch):
    objects = DirectoryObjects(tmp_path)
    monkeypatch.setattr(objects, "read", lambda name: b"something else")
    with pytest.raises(EvidenceError, match="does not give back"):
        EvidenceStore(objects, "the key").append(evidence(OLD))
    assert not (tmp_path / PLACE / "head.evidence").exists()


def test_the_key_is_not_in_the_store(three):
    assert all(b"the key" not in path.read_bytes() for path in three.place.iterdir())
