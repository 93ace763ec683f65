"""Sites whose backups are taken by the fake provider, and what tests tell it. For the tests of graph and cli."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

_TESTS = Path(__file__).parent


def policy(target="app/files", **fields):
    """The text of a policy that the fake provider carries out."""
    more = "".join(f", {name}={value!r}" for name, value in fields.items())
    return f'BackupPolicy(target="{target}", source=Files(path=str(HERE / "data")), provider="fake"{more})'


def make_fake(site, *policies, home=None):
    """Give a site the fake provider; `home` is a Dagster home to copy, which saves making one."""
    settings = site.root / "homelab.toml"
    settings.write_text('providers = ["./fake_provider.py:Fake"]\n' + settings.read_text())
    shutil.copy(_TESTS / "fake_provider.py", site.root)
    if home is not None:
        (site.root / ".homelab").mkdir(mode=0o700)
        shutil.copytree(home, site.root / ".homelab" / "dagster")
    return site.declare(*(policies or (policy(),)))


def behave(site, **by_target):
    """Tell the provider how to behave; a target is written `app_files`."""
    told = {target.replace("_", "/", 1): how for target, how in by_target.items()}
    (site.root / "behave.json").write_text(json.dumps(told))


def records(site, name):
    """What the provider wrote down."""
    path = site.root / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ago(**span):
    """A moment in the past."""
    return datetime.now(UTC) - timedelta(**span)


def taken(site, moment, target="app/files"):
    """A snapshot of that moment."""
    site.clock = lambda: moment
    try:
        return site.backup(target)
    finally:
        site.clock = None


def stored(site, snapshot):
    """Where the fake provider keeps a snapshot."""
    return site.root / "backups" / f"fake-{snapshot.target.replace('/', '-')}" / "snapshots" / snapshot.snapshot_id


def damage(site, snapshot):
    """Change the content of a stored file as a disk does: its time stays."""
    file = next((stored(site, snapshot) / "tree").rglob("*two.bin"))
    status = file.stat()
    file.write_bytes(b"\0" * 256 * 64)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def vanish(site, snapshot):
    """Take a snapshot away."""
    shutil.rmtree(stored(site, snapshot))


def alive(pid):
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
