"""Exit code 0 proves nothing: whatever restic prints then, what was not read back is no snapshot."""

import json

import pytest

from backup_orchestration.core.errors import HomelabError, ToolLiedError
from backup_orchestration.core.status import Protection

NONSENSE = {
    "nothing": "",
    "text": "all is well\n",
    "half": '{"id": "',
    "null": "null",
    "number": "7",
    "string": '"fine"',
    "empty object": "{}",
    "list of nothing": "[null]",
    "list of numbers": "[1, 2]",
    "list of lists": "[[]]",
    "list of empty objects": "[{}]",
}
ALL = pytest.mark.parametrize("stdout", NONSENSE.values(), ids=NONSENSE)


def lie(stdout):
    return {"skip": True, "stdout": stdout, "code": 0}


@ALL
def test_a_configuration_that_is_none(site, fake, stdout):
    fake.seed(site)
    fake.answer(cat=[lie(stdout)])
    with pytest.raises(ToolLiedError):
        site.backup()
    assert fake.verbs() == ["cat"]


@pytest.mark.parametrize("identity", [None, 7, "", "a" * 63, ["a"] * 64])
def test_an_identity_that_is_none(site, fake, identity):
    fake.answer(cat=[lie(json.dumps({"version": 2, "id": identity}))])
    with pytest.raises(ToolLiedError, match="no repository id"):
        site.backup()


@ALL
def test_a_backup_that_stored_nothing(site, fake, stdout):
    fake.answer(backup=[lie(stdout)])
    with pytest.raises(ToolLiedError):
        site.backup()
    assert fake.stored(site) == []
    assert site.judge().protection is Protection.NEVER


def test_a_summary_of_a_snapshot_that_is_not_there(site, fake):
    fake.answer(backup=[lie(json.dumps({"message_type": "summary", "snapshot_id": "5" * 64}))])
    with pytest.raises(ToolLiedError, match="lists 0 snapshots of run"):
        site.backup()


def test_a_summary_without_a_snapshot(site, fake):
    """`--skip-if-unchanged` would give this, and so might a restic of tomorrow."""
    fake.answer(backup=[{"stdout": json.dumps({"message_type": "summary", "files_new": 3})}])
    with pytest.raises(ToolLiedError, match="reported no snapshot"):
        site.backup()


@ALL
def test_a_read_back_that_is_none(site, fake, stdout):
    fake.answer(snapshots=[lie(stdout)])
    with pytest.raises(ToolLiedError):
        site.backup()


@ALL
def test_a_list_that_is_none(site, fake, stdout):
    fake.seed(site)
    fake.answer(snapshots=[lie(stdout)])
    with pytest.raises(ToolLiedError):
        site.homelab.repository("app/files").snapshots()


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ...},
        {"id": 7},
        {"time": ...},
        {"time": "yesterday"},
        {"time": 7},
        {"paths": ...},
        {"paths": None},
        {"tags": ...},
        {"tags": None},
        {"tags": [7]},
        {"tags": ["target=app/files", "run=run"]},
        {"tags": ["run=run", f"repository={'a' * 64}"]},
        {"summary": None},
        {"summary": {"total_files_processed": "many"}},
        {"summary": {"total_bytes_processed": None}},
        {"summary": {"backup_end": "soon"}},
    ],
    ids=str,
)
def test_a_listed_snapshot_that_cannot_be_understood(site, fake, changes):
    fake.seed(site)
    fake.answer(snapshots=[lie(json.dumps([fake.snapshot(site, **changes)]))])
    with pytest.raises(ToolLiedError, match="cannot be read"):
        site.homelab.repository("app/files").snapshots()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paths": ["/somewhere/else"]}, "/somewhere/else instead of"),
        ({"paths": []}, "instead of"),
        ({"summary": {"total_bytes_processed": 100}}, "holds no file; the source has 2"),
        ({"summary": ...}, "holds no file"),
    ],
)
def test_a_snapshot_of_something_else(site, fake, changes, words):
    fake.seed(site)
    fake.answer(snapshots=[lie(json.dumps([fake.snapshot(site, **changes)]))])
    with pytest.raises(ToolLiedError, match=words):
        site.backup(run_id="run")


def test_two_snapshots_of_one_run(site, fake):
    fake.answer(snapshots=[lie(json.dumps([fake.snapshot(site), fake.snapshot(site, id="6" * 64)]))])
    with pytest.raises(ToolLiedError, match="lists 2 snapshots"):
        site.backup(run_id="run")


@pytest.mark.parametrize("tags", [["target=app/other", "run=run"], ["target=app/files", "run=another"]])
def test_a_snapshot_of_another_target_or_run(site, fake, tags):
    """restic leaves out `--tag`: what it lists then is not what was asked for."""
    fake.seed(site)
    listed = fake.snapshot(site, tags=[*tags, f"repository={'a' * 64}"])
    fake.answer(snapshots=[lie(json.dumps([listed]))])
    with pytest.raises(ToolLiedError, match="run"):
        site.backup(run_id="run")


def test_an_empty_dump(site, fake):
    site.declare('BackupPolicy(target="app/dump", source=Dump(command=("pg_dump",), filename="app.sql"))')
    tags = ["target=app/dump", "run=run", f"repository={'a' * 64}"]
    empty = fake.snapshot(site, paths=["/app.sql"], tags=tags, summary={"total_files_processed": 1})
    fake.answer(snapshots=[lie(json.dumps([empty]))])
    with pytest.raises(ToolLiedError, match="empty dump"):
        site.backup("app/dump", "run")


def test_noise_between_the_lines_of_json_is_no_lie(site, fake):
    """restic mixes plain text into its JSON, and cuts off what it was asked for when it dies."""
    summary = json.dumps({"message_type": "summary", "snapshot_id": "5" * 64})
    lines = ["repository a opened", '{"message_type": "status"', "[1]", '{"message_type":"verbose_status"}', summary]
    fake.answer(backup=[{"stdout": "\n".join(lines)}])
    assert site.backup().snapshot_id == fake.stored(site)[0]["id"]


@pytest.mark.parametrize("verb", ["cat", "init", "backup", "snapshots"])
def test_any_one_call_that_does_nothing_and_ends_with_0(site, fake, verb):
    fake.answer(**{verb: [lie("")] * 9})
    with pytest.raises(HomelabError):
        site.backup()
    assert not (site.root / "evidence").exists()
