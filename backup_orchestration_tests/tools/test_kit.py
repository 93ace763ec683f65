"""The recovery kit restores with plain tools alone, in a shell that knows nothing of us, when all else is gone."""

import json
import os
import shutil
import stat
import subprocess

import pytest
from pg_kills import killed_shop

from backup_orchestration.core import tools
from backup_orchestration.devlab.needs import RCLONE
from backup_orchestration.operations.kit import write_kit
from backup_orchestration.providers.pgbackrest import PGBACKREST
from backup_orchestration_tests.conftest import needed
from backup_orchestration_tests.mirrors import MirrorSite
from backup_orchestration_tests.postgres_cluster import recovered
from backup_orchestration_tests.tools.test_without_us import same

pytestmark = [pytest.mark.tools]


def elsewhere(kit, path):
    """The kit on another machine, and what was here gone: its secrets, its state, its settings."""
    moved = path / "a stick" / "kit's"
    moved.parent.mkdir()
    shutil.copytree(kit.directory, moved)
    shutil.rmtree(kit.directory)
    return moved


def lose(root):
    for name in ("secrets", "evidence", ".homelab", "homelab.toml", "services.py"):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def script(kit, slug, *arguments, tool, directory, code=0):
    """Run one of its scripts as a person would; returns what it said."""
    path = f"{tool.parent}:/usr/bin:/bin"
    bare = ["/usr/bin/env", "-i", f"PATH={path}", f"HOME={directory}", "sh"]
    argv = [*bare, str(kit / "restore" / f"{slug}.sh"), *arguments]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_files(kept, restic, tmp_path_factory):
    there = tmp_path_factory.mktemp("there")
    homelab = kept.homelab
    snapshot = homelab.repository("app/files").latest()
    made = write_kit(homelab, ["app/files"], there / "kit", with_secrets=True)
    assert made.entries[0].verified
    for path in (made.directory, *made.directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    kit = elsewhere(made, there)
    lose(kept.root)
    assert snapshot.snapshot_id[:8] in script(kit, "app-files", "--list", tool=restic, directory=there)
    script(kit, "app-files", "restored here", tool=restic, directory=there)
    (data,) = [path for path in snapshot.paths if path.endswith("/data")]
    same(kept.root / "data", there / "restored here" / "restored" / data.lstrip("/"))
    said = script(kit, "app-files", "restored here", tool=restic, directory=there, code=1)
    assert "File exists" in said
    readme = (kit / "README.md").read_text()
    assert f"{snapshot.key}, taken " in readme and "restore test passed" in readme and "restic 0." in readme


def test_without_the_secrets_it_says_which(kept, restic, tmp_path_factory):
    there = tmp_path_factory.mktemp("there")
    password = (kept.root / "secrets" / "password").read_text().strip()
    done = kept.cli("backup", "kit", "--to", str(there / "kit"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["secrets"] == {"destinations.default.password": str(kept.root / "secrets/password")}
    assert not [path for path in (there / "kit").rglob("*") if path.is_file() and password in path.read_text()]
    said = script(there / "kit", "app-files", "out", tool=restic, directory=there, code=1)
    assert f"put the secret into {there}/kit/secrets/destinations.default.password" in said
    assert not (there / "out").exists()
    (there / "kit" / "secrets" / "destinations.default.password").write_text(f"{password}\n")
    script(there / "kit", "app-files", "out", tool=restic, directory=there)
    assert (there / "out" / "restored").is_dir()


def test_a_bucket(moto, tmp_path, tmp_path_factory):
    rclone = needed(lambda: tools.find(RCLONE).path)
    there = tmp_path_factory.mktemp("there")
    mirror = MirrorSite(tmp_path, moto.url)
    objects = {key: os.urandom(2000) for key in ("plain.txt", "a b+c", "folder/50%", "日本/語", "quo'te")}
    for key, body in objects.items():
        mirror.put(key, body)
    snapshot = mirror.backup()
    assert mirror.restore_test().passed
    kit = elsewhere(write_kit(mirror.homelab, ["app/files"], there / "kit", with_secrets=True), there)
    lose(mirror.root)
    assert f"{snapshot.key}/COMPLETE" in script(kit, "app-files", "--list", tool=rclone, directory=there)
    script(kit, "app-files", "out", tool=rclone, directory=there)
    restored = there / "out" / "restored"
    found = {str(path.relative_to(restored)): path.read_bytes() for path in restored.rglob("*") if path.is_file()}
    assert found == objects


@pytest.mark.xdist_group("postgres")
@pytest.mark.unprivileged
def test_a_cluster(tmp_path_factory, new_site, postgres_cluster, pgbackrest):
    there = tmp_path_factory.mktemp("there")
    tool = tools.find(PGBACKREST).path
    with killed_shop(tmp_path_factory.mktemp("shop"), new_site, postgres_cluster) as shop:
        snapshot = shop.homelab.repository("shop/db").latest()
        made = write_kit(shop.homelab, ["shop/db"], there / "kit", with_secrets=True)
        assert not made.entries[0].verified and "NOT VERIFIED" in made.entries[0].said
        kit = elsewhere(made, there)
        lose(shop.root)
        assert snapshot.snapshot_id in script(kit, "shop-db", "--list", tool=tool, directory=there)
        script(kit, "shop-db", "out", snapshot.snapshot_id, tool=tool, directory=there)
    with recovered(there / "out" / "restored") as lab:
        assert lab.one("SELECT count(*) FROM pg_database WHERE datname = 'postgres'") == 1
