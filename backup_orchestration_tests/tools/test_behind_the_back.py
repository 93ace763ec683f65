"""What is deleted, truncated or swapped behind the tool's back is reported: by reconcile, or by the next restore test.

Each case says by which of them, so that neither can do nothing while the other is praised for it.
"""

import shutil

import pytest
from kills import copy_site

from backup_orchestration.core.errors import HomelabError, RestoreFailedError
from backup_orchestration.operations.reconcile import lost_lines, reconcile
from backup_orchestration_tests.mirrors import MirrorSite

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

TARGET = "app/files"


def looked(site, made):
    """What reconciling says, and then what a restore test says of the newest one that was there."""
    try:
        done = reconcile(site.homelab, TARGET, [item.key for item in made], "run")
    except HomelabError as error:
        return f"reconcile: {error.message}"
    if lost_lines(done):
        return f"reconcile: {'; '.join(lost_lines(done))}"
    evidence = site.restore_test(key=made[-1].key)
    return "nothing" if evidence.passed else f"restore test: {evidence.reason}"


def filled(said, made):
    """Two of one second are told of in the order of their ids."""
    first, second = (item.key for item in made)
    return said.format(first=first, second=second, lowest=min(first, second))


@pytest.fixture(scope="module")
def two(tmp_path_factory, new_site, start_repository):
    """Two verified snapshots, the second with data of its own."""
    site = start_repository(new_site(tmp_path_factory.mktemp("two")), TARGET)
    made = [site.backup()]
    (site.root / "data" / "three.txt").write_text("only the second one has this\n")
    made.append(site.backup())
    for item in made:
        assert site.restore_test(key=item.key).passed
    return site, made


@pytest.fixture
def restic_site(two, tmp_path, dagster_home):
    site, made = two
    copied = copy_site(site, tmp_path, dagster_home)
    return copied, made, copied.root / "backups" / "restic-app-files"


def replace(path, data):
    """In a file of its own: the copies of a site share theirs."""
    path.unlink()
    path.write_bytes(data)


def snapshot_file(place, item):
    return place / "snapshots" / item.snapshot_id


def remove_snapshot(site, made, place):
    snapshot_file(place, made[1]).unlink()


def truncate_snapshot(site, made, place):
    path = snapshot_file(place, made[1])
    replace(path, path.read_bytes()[:40])


def swap_snapshots(site, made, place):
    replace(snapshot_file(place, made[1]), snapshot_file(place, made[0]).read_bytes())


def newest_pack(site):
    return max(site.packs(), key=lambda path: path.stat().st_mtime_ns)


def remove_pack(site, made, place):
    newest_pack(site).unlink()


def truncate_pack(site, made, place):
    path = newest_pack(site)
    replace(path, path.read_bytes()[:-7])


def swap_packs(site, made, place):
    replace(newest_pack(site), site.packs()[0].read_bytes() if site.packs()[0] != newest_pack(site)
            else site.packs()[1].read_bytes())  # fmt: skip


def remove_index(site, made, place):
    for path in (place / "index").iterdir():
        path.unlink()


def remove_all_snapshots(site, made, place):
    for path in (place / "snapshots").iterdir():
        path.unlink()


def remove_key(site, made, place):
    for path in (place / "keys").iterdir():
        path.unlink()


def move_away(site, made, place):
    place.rename(site.root / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove_snapshot, "reconcile: {second} vanished: it is no longer in the repository; it passed"),
        (truncate_snapshot, "reconcile: the list is cut short: restic cannot read the snapshot file"),
        (swap_snapshots, "reconcile: the list is cut short: restic cannot read the snapshot file"),
        (remove_all_snapshots, "reconcile: {lowest} vanished"),
        (remove_key, "reconcile: "),
        (move_away, "reconcile: there is no repository"),
        (remove_pack, "restore test: restore: damaged or missing in the repository: data/"),
        (truncate_pack, "restore test: restore: damaged or missing in the repository: data/"),
        (swap_packs, "restore test: restore: damaged or missing in the repository: data/"),
        (remove_index, "restore test: restore: "),
    ],
)
def test_of_restic(restic_site, matrix, damage, said):
    site, made, place = restic_site
    damage(site, made, place)
    found = looked(site, made)
    matrix("behind the tool's back", "restic", damage.__name__.replace("_", " "), found.partition(":")[0])
    assert found.startswith(filled(said, made)), found


def test_a_restic_repository_that_was_made_anew(restic_site, tmp_path_factory, new_site, restic):
    """Another repository under the same name, with the same password, and snapshots in it."""
    site, made, place = restic_site
    other = new_site(tmp_path_factory.mktemp("other"))
    shutil.rmtree(place)
    other.backup()
    shutil.copytree(other.root / "backups" / "restic-app-files", place)
    found = looked(site, made)
    assert f"{made[1].key} vanished: it was in another repository than the one there now" in found
    assert "recovery point" not in found and site.judge().recovery_point is None


def test_what_is_not_touched_is_found_whole(restic_site):
    site, made, _ = restic_site
    assert looked(site, made) == "nothing"


@pytest.fixture
def mirror(tmp_path, moto):
    """Two verified mirrors of one bucket, the second with an object more."""
    site = MirrorSite(tmp_path, moto.url)
    for number in range(3):
        site.put(f"small/{number}", b"%d" % number * 50)
    made = [site.backup()]
    site.put("small/3", b"only the second one has this")
    made.append(site.backup())
    for item in made:
        assert site.restore_test(item.key).passed
    return site, made


def copy_object(site, source, to):
    where = {"Bucket": site.backups, "Key": source}
    site.store.copy_object(Bucket=site.backups, Key=to, CopySource=where)


def delete(site, key):
    site.store.delete_object(Bucket=site.backups, Key=key)


def make_anew(site, made):
    """REPOSITORY of another repository of this target, with the same password."""
    for key in site.stored():
        delete(site, key)
    site.repository._open_or_create(create=True)
    site.backup()


MIRRORS = {
    "remove COMPLETE": (
        lambda site, made: delete(site, site.prefix(made[1]) + "COMPLETE"),
        "reconcile: {second} vanished: it is no longer",
    ),
    "truncate COMPLETE": (
        lambda site, made: site.store.put_object(
            Bucket=site.backups, Key=site.prefix(made[1]) + "COMPLETE", Body=b'{"record"'
        ),
        "reconcile: the list is cut short: {second}/COMPLETE is not authentic",
    ),
    "swap COMPLETE": (
        lambda site, made: copy_object(site, site.prefix(made[0]) + "COMPLETE", site.prefix(made[1]) + "COMPLETE"),
        "reconcile: the list is cut short: {second}/COMPLETE was written for {first}",
    ),
    "remove REPOSITORY": (
        lambda site, made: delete(site, "lab/app-files/REPOSITORY"),
        "reconcile: there is no repository",
    ),
    "make the repository anew": (make_anew, "reconcile: {lowest} vanished: it was in another repository"),
    "remove an object": (
        lambda site, made: delete(site, site.prefix(made[1]) + "data/small/3"),
        "restore test: restore: ",
    ),
    "swap two objects": (
        lambda site, made: copy_object(
            site, site.prefix(made[1]) + "data/small/1", site.prefix(made[1]) + "data/small/2"
        ),
        "restore test: restore: ",
    ),
    "swap manifests": (
        lambda site, made: copy_object(
            site, site.prefix(made[0]) + "manifest.jsonl.gz", site.prefix(made[1]) + "manifest.jsonl.gz"
        ),
        "restore test: restore: ",
    ),
    "remove the manifest": (
        lambda site, made: delete(site, site.prefix(made[1]) + "manifest.jsonl.gz"),
        "restore test: restore: ",
    ),
}


@pytest.mark.parametrize("what", MIRRORS)
def test_of_a_mirror(mirror, matrix, what):
    site, made = mirror
    damage, said = MIRRORS[what]
    damage(site, made)
    found = looked(site.site, made)
    matrix("behind the tool's back", "minio-mirror", what, found.partition(":")[0])
    assert found.startswith(filled(said, made)), found


def remove_set(site, full, incremental):
    shutil.rmtree(site.files / "backup" / "shop-db" / incremental.snapshot_id)


def remove_manifests(site, full, incremental):
    for path in (site.files / "backup" / "shop-db" / incremental.snapshot_id).glob("backup.manifest*"):
        path.unlink()


def truncate_manifests(site, full, incremental):
    """Both of them: pgBackRest restores from the copy when the first is not whole."""
    for path in (site.files / "backup" / "shop-db" / incremental.snapshot_id).glob("backup.manifest*"):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:100])


def swap_sets(site, full, incremental):
    """The full stands under the name of the incremental one."""
    place = site.files / "backup" / "shop-db"
    shutil.rmtree(place / incremental.snapshot_id)
    shutil.copytree(place / full.snapshot_id, place / incremental.snapshot_id)


def expire_set(site, full, incremental):
    with site.repository._cli() as cli:
        cli.query("expire", f"--set={incremental.snapshot_id}")


def remove_info(site, full, incremental):
    for path in (site.files / "backup" / "shop-db").glob("backup.info*"):
        path.unlink()


@pytest.mark.usefixtures("pgbackrest")
@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize(
    ("damage", "who"),
    [
        (remove_set, "restore test"),
        (remove_manifests, "restore test"),
        (truncate_manifests, "restore test"),
        (swap_sets, "restore test"),
        (expire_set, "list"),
        (remove_info, "list"),
    ],
)
def test_of_pgbackrest(pg_copy, matrix, damage, who):
    """What is listed, which reconcile holds against what is remembered, or the restore, says it."""
    site, full, incremental = pg_copy
    damage(site, full, incremental)
    try:
        listed = {item.snapshot_id for item in site.repository.listing().snapshots}
        found = "restore test" if incremental.snapshot_id in listed else "list"
    except HomelabError:
        found = "list"
    assert found == who
    matrix("behind the tool's back", "pgbackrest", damage.__name__.replace("_", " "), found)
    if who == "restore test":
        with pytest.raises(RestoreFailedError):
            site.restore(incremental)
