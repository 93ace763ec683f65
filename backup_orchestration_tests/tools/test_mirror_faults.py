"""Sources and stores that fail, change or shrink while they are mirrored: said as such, and never a snapshot."""

from datetime import UTC, datetime, timedelta
from threading import Lock

import pytest
from faulty_store import FaultyStore

from backup_orchestration.core.errors import (
    HomelabError,
    PolicyError,
    RepositoryVanishedError,
    SourceError,
    StoreError,
    ToolLiedError,
    WrongPasswordError,
)
from backup_orchestration.providers.mirror import copying, source
from backup_orchestration_tests.mirrors import MirrorSite


@pytest.fixture
def mirror(tmp_path, moto):
    site = MirrorSite(tmp_path, moto.url)
    for number in range(12):
        site.put(f"k/{number:02}", f"body {number}".encode())
    return site


@pytest.fixture
def faulty(mirror, moto):
    """The source behind a store that breaks on demand."""
    store = FaultyStore(moto.port)
    mirror.configure(source_url=store.url, patience=3)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("fault", "only", "says"),
    [
        ("403", r"GET /source-\w+/k/07", "'k/07'.*AccessDenied"),
        ("500", r"GET /source-\w+/k/07", "'k/07'.*InternalError"),
        ("500", r"GET /source-\w+\?.*list-type", "cannot be read.*InternalError"),
        ("gone", r"GET /source-\w+/k/07", "'k/07'.*cannot be used"),
        ("gone", r"GET /source-\w+\?.*list-type", "cannot be read"),
    ],
)
def test_a_source_that_fails(mirror, faulty, fault, only, says):
    faulty.break_with(fault, only=only)
    with pytest.raises((SourceError, StoreError), match=says):
        mirror.backup()
    assert faulty.broken
    assert mirror.repository.snapshots() == []
    assert "begun and never finished" in " ".join(mirror.repository.health()) or "list" in only
    faulty.mend()
    mirror.backup()
    assert mirror.restore_test().passed


def test_what_fails_once_is_asked_again(mirror, monkeypatch):
    real, failed, lock = copying._Copier._once, set(), Lock()

    def once(self, task, **how):
        with lock:
            first = task.key not in failed
            failed.add(task.key)
        if first:
            raise StoreError("a store under load")
        return real(self, task, **how)

    monkeypatch.setattr(copying._Copier, "_once", once)
    mirror.backup()
    assert len(failed) == 12
    assert mirror.restore_test().passed


def meddling(monkeypatch, meddle, times=1):
    """Call this right before an object is copied, the first times."""
    real, done, lock = copying._Copier._once, [], Lock()

    def once(self, task, **how):
        with lock:
            if task.key == "k/05" and len(done) < times:
                done.append(meddle())
        return real(self, task, **how)

    monkeypatch.setattr(copying._Copier, "_once", once)


@pytest.mark.parametrize("way", ["on the server", "through here"])
def test_an_object_that_changes_once_is_copied_as_it_is_then(mirror, moto, monkeypatch, way):
    if way == "through here":
        mirror.configure(source_url=moto.url.replace("127.0.0.1", "localhost"))
    meddling(monkeypatch, lambda: mirror.put("k/05", b"another body"))
    snapshot = mirror.backup()
    assert snapshot.counts["changed"] == 1
    assert mirror.restore_test().passed
    stored = mirror.store.get_object(Bucket=mirror.backups, Key=mirror.prefix(snapshot) + "data/k/05")
    assert stored["Body"].read() == b"another body"


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "copied on the server"])
def test_attributes_that_change_during_the_copy_are_those_of_one_moment(mirror, monkeypatch, size):
    """The bytes stay, and so does the ETag: nothing but the server's copy would tell the difference."""
    body = b"x" * size
    mirror.put("k/05", body, Metadata={"m": "1"}, ContentType="text/x-1", Tagging="t=1")
    real, met = copying._Copier._attributes, []

    def attributes(self, task, answer):
        found = real(self, task, answer)
        if task.key == "k/05":
            mirror.put("k/05", body, Metadata={"m": "2"}, ContentType="text/x-2", Tagging="t=2")
            met.append(task.key)
        return found

    monkeypatch.setattr(copying._Copier, "_attributes", attributes)
    snapshot = mirror.backup()
    assert met == ["k/05"]
    kept = mirror.store.head_object(Bucket=mirror.backups, Key=mirror.prefix(snapshot) + "data/k/05")
    assert (kept["Metadata"], kept["ContentType"]) == ({"m": "1"}, "text/x-1")
    assert mirror.restore_test().passed


def test_an_object_that_changes_again_and_again_is_an_error(mirror, monkeypatch):
    bodies = iter([b"one", b"two!", b"three"])
    meddling(monkeypatch, lambda: mirror.put("k/05", next(bodies)), times=3)
    with pytest.raises(SourceError, match="'k/05' changed twice"):
        mirror.backup()
    assert mirror.repository.snapshots() == []


def test_an_object_that_is_deleted_meanwhile_is_left_out_and_counted(mirror, monkeypatch):
    meddling(monkeypatch, lambda: mirror.client.delete_object(Bucket=mirror.source, Key="k/05"))
    snapshot = mirror.backup()
    assert (snapshot.counts["objects"], snapshot.counts["deleted"]) == (11, 1)
    assert mirror.restore_test().passed


@pytest.mark.parametrize("which", [0, 1])
def test_a_listing_that_is_cut_short_is_seen(mirror, monkeypatch, which):
    from backup_orchestration.providers.mirror.index import Index

    real = Index.fill

    def fill(self, table, found):
        items = list(found)
        return real(self, table, items[:-2] if table == ("source", "after")[which] else items)

    monkeypatch.setattr(Index, "fill", fill)
    monkeypatch.setattr(source, "_CLOCK_SECONDS", -60.0)  # as if the objects were older than a minute
    with pytest.raises(SourceError, match=r"'k/1\d' is there and was not listed"):
        mirror.backup()
    assert mirror.repository.snapshots() == []


@pytest.mark.parametrize(("left", "refused"), [(0, True), (5, True), (6, False)])
def test_a_shrunken_source_is_refused(mirror, left, refused):
    mirror.backup()
    for number in range(left, 12):
        mirror.client.delete_object(Bucket=mirror.source, Key=f"k/{number:02}")
    if not refused:
        assert mirror.backup().counts["objects"] == left
        return
    with pytest.raises(SourceError, match="is empty" if left == 0 else "least_share=0"):
        mirror.backup()
    assert len(mirror.repository.snapshots()) == 1
    if left:
        assert mirror.configure(more=", least_share=0").backup().counts["objects"] == left


def test_a_copy_that_the_store_loses_is_no_snapshot(mirror, monkeypatch):
    real = copying._Copier._once

    def once(self, task, **how):
        copied = real(self, task, **how)
        if task.key == "k/05":
            mirror.store.delete_object(Bucket=mirror.backups, Key=task.to)
        return copied

    monkeypatch.setattr(copying._Copier, "_once", once)
    with pytest.raises(ToolLiedError, match="'k/05' was copied and is not listed"):
        mirror.backup()


@pytest.mark.parametrize("edit", ["lost", "forged", "another password"])
def test_the_repository_is_known_by_its_record(mirror, edit):
    mirror.backup()
    where = {"Bucket": mirror.backups, "Key": "lab/app-files/REPOSITORY"}
    if edit == "lost":
        mirror.store.delete_object(**where)
    elif edit == "forged":
        mirror.store.put_object(**where, Body=b'{"record": {"repository_id": "1"}, "mac": "0"}')
    else:
        (mirror.root / "secrets" / "password").write_text("another one")
    with pytest.raises(RepositoryVanishedError if edit == "lost" else WrongPasswordError):
        mirror.backup()


def test_a_directory_cannot_hold_a_mirror(mirror):
    settings = mirror.root / "homelab.toml"
    lines = [
        line for line in settings.read_text().splitlines() if not line.startswith(("endpoint", "access", "secret_"))
    ]
    settings.write_text("\n".join(lines).replace(f"s3://{mirror.backups}/lab", "backups"))
    with pytest.raises(PolicyError, match="app/files: destination: minio-mirror"):
        assert mirror.homelab


def test_a_bucket_that_holds_its_own_mirror_is_refused(mirror):
    mirror.backups = mirror.source
    with pytest.raises(PolicyError, match="contains its repository"):
        assert mirror.configure().homelab


def test_pruning_brings_to_an_end_what_was_begun(mirror, monkeypatch):
    moments = [datetime.now(UTC) - timedelta(days=days) for days in (4, 3, 2)]
    snapshots = []
    for moment in moments:
        mirror.site.clock = lambda moment=moment: moment
        snapshots.append(mirror.backup())
    mirror.site.clock = None
    assert mirror.restore_test().passed
    mirror.configure()
    services = mirror.root / "services.py"
    one = "retention=Retention(keep_last=1, keep_daily=0, keep_weekly=0, keep_monthly=0, min_verified=1), target="
    services.write_text(services.read_text().replace("target=", one, 1))
    from backup_orchestration.core.progress import silent
    from backup_orchestration.operations.prune import prune
    from backup_orchestration.providers.mirror import provider

    real, deleted = provider._delete, []

    def killed(bucket, key):
        if len(deleted) == 5:
            raise StoreError("killed")
        deleted.append(key)
        real(bucket, key)

    with monkeypatch.context() as patch:
        patch.setattr(provider, "_delete", killed)
        with pytest.raises(StoreError, match="killed"):
            prune(mirror.homelab, "app/files", silent, force=2)
    assert [item.key for item in mirror.repository.snapshots()] == [snapshots[-1].key]
    assert mirror.stored(snapshots[0])
    assert len(mirror.repository.health()) == 2
    done = prune(mirror.homelab, "app/files", silent)
    assert done.report.removed == ()
    assert mirror.stored(snapshots[0]) == mirror.stored(snapshots[1]) == []
    assert mirror.repository.health() == []
    assert mirror.restore_test().passed


def test_a_young_unfinished_prefix_is_left_to_who_may_still_write_it(mirror, monkeypatch):
    mirror.backup()
    assert mirror.restore_test().passed
    with monkeypatch.context() as patch:
        patch.setattr(copying._Copier, "_hold", lambda *_: (_ for _ in ()).throw(StoreError("no")))
        patch.setattr(copying._Copier, "_on_server", lambda *_: None)
        with pytest.raises(HomelabError):
            mirror.backup()
    begun = mirror.stored()
    mirror.prune()
    assert mirror.stored() == begun
    mirror.site.clock = lambda: datetime.now(UTC) + timedelta(days=2)
    mirror.prune()
    assert len(mirror.stored()) < len(begun)
    assert mirror.repository.health() == []
