"""Everything that `restore --in-place` refuses: with the reason and what to do, and nothing is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes import behave, make_fake, policy

from backup_orchestration.core import mounts
from backup_orchestration.core.errors import UsageError
from backup_orchestration.core.mounts import mount_points
from backup_orchestration.core.postmaster import require_stopped
from backup_orchestration.operations import in_place
from backup_orchestration.operations.restore import restore
from backup_orchestration.operations.restore_plan import Wanted, plan_restore

TARGET = "app/files"
IN_PLACE = ("backup", "restore", "--target", TARGET, "--in-place", "--confirm", "x")


def allow(site, roots='["."]'):
    settings = site.root / "homelab.toml"
    settings.write_text(f"restore_roots = {roots}\n" + settings.read_text())
    return site


def declared(site, *policies, roots='["."]'):
    """A site of the fake provider with a snapshot of `app/files`, which may be restored in place."""
    allow(make_fake(site, *policies), roots)
    site.key = site.backup().key
    return site


def names(root):
    """Everything below a directory; but for what the fake provider writes down, and Python."""
    return sorted(str(path) for path in root.rglob("*") if path.suffix not in (".jsonl", ".pyc"))


def refused(site, say, words, remedy=""):
    """Refused twice with these words, planned and asked for, before anything is touched."""
    before = names(site.root)
    for more in ((), ("--plan",)):
        said = say(*IN_PLACE, "--snapshot", site.key, *more)
        assert said.code == 2 and words in said.err and remedy in said.err, said.err
    assert names(site.root) == before


@pytest.mark.parametrize(
    ("roots", "words"),
    [
        ("[]", "restore_roots names no directory"),
        ('["/srv", "elsewhere"]', "restore_roots names /srv, "),
        ('["data"]', "lies outside of what may be replaced"),
        ('["data/sub"]', "lies outside of what may be replaced"),
        ('["way"]', "lies outside of what may be replaced"),
    ],
)
def test_a_place_outside_the_allowed_roots(site, say, roots, words):
    (site.root / "elsewhere").mkdir()
    (site.root / "way").symlink_to("elsewhere")
    declared(site, roots=roots)
    refused(site, say, words, f'add restore_roots = ["{site.root}"]')


def test_a_link_above_the_source_does_not_lead_out_of_the_roots(site, say):
    """By its name it lies in an allowed root, and where the name leads to it does not."""
    (site.root / "allowed").mkdir()
    (site.root / "allowed" / "way").symlink_to("..")
    declared(site, policy().replace('"data"', '"allowed" / "way" / "data"'), roots='["allowed"]')
    refused(site, say, f"{site.root}/data lies outside of what may be replaced")


SOURCES = {
    "sqlite": ('Sqlite(path=str(HERE / "app.db"))', "has no meaning: ", "(sqlite)"),
    "dump": ('Dump(command=["printf", "x"], filename="x")', "has no meaning: ", "(dump)"),
    "export": ('Export(command=["true"])', "has no meaning: ", "(export)"),
    "pg_dump": ('PgDump(database="shop")', "has no meaning: ", "(pg_dump)"),
    "postgres": ('Postgres(data="/srv/pg"), provider="pgbackrest"', "a PostgreSQL cluster: not built yet", "--to"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_that_is_no_files(site, say, kind):
    source, *words = SOURCES[kind]
    allow(site.declare(f'BackupPolicy(target="app/files", source={source})'))
    said = say(*IN_PLACE)
    assert said.code == 2 and [word for word in words if word not in said.err] == [] and not said.out


def test_a_bucket(site, say):
    allow(site)
    settings = site.root / "homelab.toml"
    secrets = 'access_key = { file = "secrets/password" }\nsecret_key = { file = "secrets/password" }\n'
    place = f'[destinations.far]\nlocation = "s3://far"\nendpoint = "http://127.0.0.1:1"\n{secrets}'
    settings.write_text(settings.read_text() + place + 'password = { file = "secrets/password" }\n')
    keys = 'access_key={"file": "secrets/password"}, secret_key={"file": "secrets/password"}'
    source = f'Bucket(endpoint="http://127.0.0.1:1", bucket="live", {keys})'
    site.declare(f'BackupPolicy(target="app/files", provider="minio-mirror", source={source}, destination="far")')
    said = say(*IN_PLACE)
    assert said.code == 2 and "is for files, and this is a bucket" in said.err


def test_a_snapshot_of_another_source(site, say):
    declared(site)
    (site.root / "moved").mkdir()
    site.declare(policy().replace('"data"', '"moved"'))
    refused(site, say, f"{site.key} holds {site.root}/data, and the source of {TARGET} is {site.root}/moved")


INSIDE = {
    "backups": ("destinations.default, ", "{root}/data/backups, lies in {root}/data"),
    "evidence": ("the evidence, ", "{root}/data/evidence, lies in {root}/data"),
    "secrets": ("the secrets directory, ", "{root}/data/secrets, lies in {root}/data"),
    ".homelab": ("`home`, ", "{root}/data/.homelab, lies in {root}/data"),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_source_that_holds_what_is_ours(site, say, name):
    """Excluded, it may lie in a source; it would be moved away with it all the same."""
    declared(site, policy().replace("path=", f'exclude=["{name}"], path='))
    settings = site.root / "homelab.toml"
    text = settings.read_text().replace(f'"{name}', f'"data/{name}')
    field = {".homelab": "home", "secrets": "secrets"}.get(name)
    settings.write_text((f'{field} = "data/{name}"\n' if field else "") + text)
    (site.root / name).mkdir(exist_ok=True)
    shutil.move(site.root / name, site.root / "data" / name)
    what, where = INSIDE[name]
    refused(site, say, what + where.format(root=site.root), "restore into a directory with --to")


def test_a_source_that_holds_the_settings(site, say):
    declared(site)
    (site.root / "data" / "set").mkdir()
    for name in ("homelab.toml", "services.py", "fake_provider.py"):
        shutil.copy(site.root / name, site.root / "data" / "set")
    settings = site.root / "data" / "set" / "homelab.toml"
    absolute = {"backups": "backups", "evidence": "evidence", "secrets/": "secrets/"}
    text = settings.read_text().replace('["."]', f'["{site.root}"]')
    for name in absolute:
        text = text.replace(f'"{name}', f'"{site.root}/{name}')
    settings.write_text(f'secrets = "{site.root}/secrets"\nhome = "{site.root}/.homelab"\n' + text)
    services = settings.with_name("services.py")
    services.write_text(services.read_text().replace("HERE = Path(__file__).parent", f'HERE = Path("{site.root}")'))
    said = say(*IN_PLACE, "--snapshot", site.key, settings=settings)
    assert said.code == 2 and f"the settings file, {settings}, lies in {site.root}/data" in said.err


@pytest.mark.parametrize("way", ["inside", "around"])
def test_a_source_that_another_target_shares_in_part(site, say, way):
    other = '"data" / "sub"' if way == "inside" else '"."'
    here = policy("app/other").replace('"data"', other)
    if way == "around":
        here = here.replace("path=", 'exclude=["backups", "evidence", "secrets", ".homelab"], path=')
    declared(site, policy(), here)
    words = (
        f"the source of app/other, {site.root}/data/sub, lies in" if way == "inside" else "in the source of app/other"
    )
    refused(site, say, words)


def test_a_source_that_two_targets_share_whole_is_replaced_for_both(site, say):
    declared(site, policy(), policy("app/second"))
    assert plan_restore(site.homelab, TARGET, Wanted(key=site.key, in_place=True)).obstacle is None


def test_a_place_that_is_a_link_now(site, say):
    declared(site)
    (site.root / "data").rename(site.root / "elsewhere")
    (site.root / "data").symlink_to("elsewhere")
    refused(site, say, f"{site.root}/data is a symbolic link now")


def test_a_place_that_is_a_pipe_now(site, say):
    declared(site)
    shutil.rmtree(site.root / "data")
    os.mkfifo(site.root / "data")
    refused(site, say, f"{site.root}/data is neither a file nor a directory")


def test_no_directory_above(site, say):
    (site.root / "disk").mkdir()
    shutil.move(site.root / "data", site.root / "disk")
    declared(site, policy().replace('"data"', '"disk" / "data"'))
    shutil.rmtree(site.root / "disk")
    refused(site, say, f"there is no directory {site.root}/disk", "mount it, or make it")


def test_a_line_of_its_own_in_the_name(site, say):
    (site.root / "data").rename(site.root / "a\nb")
    declared(site, policy().replace('"data"', '"a\\nb"'))
    refused(site, say, "holds what cannot be shown")


@pytest.mark.parametrize("name", ["data", "data/sub", "data/sub/deeper"])
def test_a_mount_point(site, say, monkeypatch, name):
    declared(site)
    point = site.root / name
    monkeypatch.setattr(in_place, "mount_points", lambda: [Path("/"), site.root, point])
    what = "is a mount point" if name == "data" else f"holds the mount point {point}"
    refused(site, say, f"{site.root}/data {what}", "take the mount away before")


def test_mount_points_are_those_of_the_system(tmp_path, monkeypatch):
    assert {Path("/"), Path("/proc")} <= set(mount_points())
    told = tmp_path / "mountinfo"
    told.write_bytes(b"1 2 8:1 /srv /srv/a\\040b\\134c\xe9 rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(mounts, "_MOUNTINFO", told)
    assert mount_points() == [Path(os.fsdecode(b"/srv/a b\\c\xe9"))]


@pytest.mark.unprivileged
def test_what_cannot_be_looked_into_or_written(site, say):
    declared(site)
    sub = site.root / "data" / "sub"
    sub.chmod(0)
    try:
        refused(site, say, f"{sub} cannot be looked into", "run it as root")
    finally:
        sub.chmod(0o755)
    site.root.chmod(0o500)
    try:
        refused(site, say, f"{site.root} cannot be written, and what is replaced is kept there")
    finally:
        site.root.chmod(0o700)


# PostgreSQL


@pytest.fixture
def cluster(site):
    """A source with the data directory of a cluster in it."""
    declared(site)
    data = site.root / "data" / "pg"
    data.mkdir()
    return site, data


@pytest.fixture
def postgres(tmp_path, request):
    """Starts a process that is called `postgres`, and works in a directory."""
    program = tmp_path / "bin" / "postgres"
    program.parent.mkdir()
    shutil.copy(shutil.which("sleep"), program)
    begun = []

    def start(directory):
        begun.append(subprocess.Popen([str(program), "300"], cwd=directory))
        return begun[-1].pid

    yield start
    for process in begun:
        process.kill()
        process.wait()


def test_a_server_that_runs_there(cluster, postgres, say, until):
    site, data = cluster
    number = postgres(site.root)
    until(lambda: Path(f"/proc/{number}/comm").read_text() == "postgres\n")
    (data / "postmaster.pid").write_text(f"{number}\n{data}\n")
    refused(site, say, f"a PostgreSQL server runs on {data}, as process {number}", "stop it")


def test_a_server_of_a_container_that_is_seen_from_here(cluster, postgres, say, until):
    """It has another number there, and may call the directory otherwise: it works in it."""
    site, data = cluster
    number = postgres(data)
    until(lambda: Path(f"/proc/{number}/comm").read_text() == "postgres\n")
    (data / "postmaster.pid").write_text("1\n/var/lib/postgresql/data\n")
    refused(site, say, f"a PostgreSQL server runs on {data}, as process {number}", "stop it")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4194999\n/x\n", "names process 4194999, which is not seen here"),
        (f"{os.getpid()}\n/x\n", f"names process {os.getpid()}, which is py"),
        ("", "names process (none), which is not seen here"),
        ("\0\xff\n", "which is not seen here"),
        ("-1\n", "names process -1, which is not seen here"),
    ],
    ids=["gone", "another program", "empty", "no text", "negative"],  # process ids differ between pytest's workers
)
def test_what_cannot_be_known_is_said(cluster, say, text, words):
    site, data = cluster
    (data / "postmaster.pid").write_text(text, encoding="latin-1")
    refused(site, say, words)
    refused(site, say, "which cannot be known from here", f"no server uses {data}, then remove postmaster.pid")


def test_a_stopped_cluster_is_replaced(cluster):
    _, data = cluster
    require_stopped(data)


def test_a_server_that_was_started_meanwhile(cluster):
    """It was not there when this was planned."""
    site, data = cluster
    behave(site, app_files={"restore_child": ["sh", "-c", f"echo 1 >{data}/postmaster.pid"]})
    wanted = plan_restore(site.homelab, TARGET, Wanted(key=site.key, in_place=True))
    assert wanted.obstacle is None
    with pytest.raises(UsageError, match="names process 1, "):
        restore(site.homelab, wanted)
    assert (data / "postmaster.pid").exists() and not list(site.root.glob("data?*"))


# What is not refused, and said


def test_who_works_there_and_what_is_excluded_is_said(site, say, postgres):
    declared(site, policy().replace("path=", 'exclude=["cache"], path='))
    number = postgres(site.root / "data" / "sub")
    said = say(*IN_PLACE, "--snapshot", site.key, "--plan")
    assert said.code == 0
    assert f"(process {number}) works in {site.root}/data, and would go on with what is moved away" in said.out
    assert "WARNING    cache is excluded and in no snapshot: it will be with what is kept" in said.out


def test_what_cannot_be_restored_without_root_is_said(site, say, monkeypatch):
    declared(site)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    said = say(*IN_PLACE, "--snapshot", site.key, "--plan")
    assert "WARNING    you are not root: all that is restored will be yours" in said.out
    assert "; 5 entries there belong to others now" in said.out
