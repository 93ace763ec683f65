"""How restic is called to prune, and what is made of its lies; on a fake one."""

import json
from datetime import UTC, datetime

import pytest

from backup_orchestration.core.errors import CommandFailedError, RepositoryLockedError, ToolLiedError
from backup_orchestration.core.policy import Retention
from backup_orchestration.core.progress import silent
from backup_orchestration.core.retention import Circumstances, plan
from backup_orchestration.providers import _restic_prune

ONE = Retention(keep_last=1, keep_daily=0, keep_weekly=0, keep_monthly=0)


@pytest.fixture
def made(site, fake):
    """Three snapshots, and the plan that keeps the newest."""
    for _ in range(3):
        site.backup()
    found = site.homelab.repository("app/files").snapshots()
    verified = {item.snapshot_id for item in found}
    return plan("app/files", found, ONE, datetime.now(UTC), Circumstances(verified=verified))


def prune(site, wanted):
    return site.homelab.repository("app/files").prune(wanted, silent)


def test_snapshots_go_by_their_ids_and_data_after_the_list_was_read_back(site, fake, made):
    fake.answer()
    report = prune(site, made)
    assert (report.removed, report.kept) == (made.removed, made.kept)
    assert fake.verbs() == ["forget", "snapshots", "prune"]
    forget, _, data = fake.calls()
    assert forget.argv[-3:] == ["forget", *(item.snapshot_id for item in made.removed)]
    assert [word for word in (*forget.argv, *data.argv) if word.startswith("--keep")] == []
    assert "--retry-lock=10m" in forget.argv and "--retry-lock=10m" in data.argv


def test_many_go_in_more_than_one_call(site, fake, made, monkeypatch):
    monkeypatch.setattr(_restic_prune, "_AT_ONCE", 1)
    fake.answer()
    prune(site, made)
    assert fake.verbs() == ["forget", "forget", "snapshots", "prune"]


@pytest.mark.parametrize("lie", ["removes nothing", "removes too much"])
def test_data_stays_where_forget_lied(site, fake, made, lie):
    kept = made.kept[0].snapshot_id
    if lie == "removes nothing":
        fake.answer(forget=[{"skip": True, "stderr": 'Ignoring "5": no matching ID found'}])
    else:
        held = site.root / "backups" / "restic-app-files" / "fake.json"
        repository = json.loads(held.read_text())
        repository["snapshots"] = [item for item in repository["snapshots"] if item["id"] != kept]
        held.write_text(json.dumps(repository))
        fake.answer()
    with pytest.raises(ToolLiedError, match="left" if lie == "removes nothing" else "took what it had to keep"):
        prune(site, made)
    assert "prune" not in fake.verbs()


@pytest.mark.parametrize(
    ("code", "error"), [(11, RepositoryLockedError), (1, CommandFailedError), (130, CommandFailedError)]
)
@pytest.mark.parametrize("verb", ["forget", "prune"])
def test_what_ends_badly_is_an_error(site, fake, made, verb, code, error):
    fake.answer(**{verb: [{"skip": True, "code": code}] * 2})
    with pytest.raises(error):
        prune(site, made)
