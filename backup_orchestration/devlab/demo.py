"""`homelab devlab demo`: backups of a whole lab are taken, proved, one is damaged, found out, and mended.

Everything happens in the example lab below the present directory, through the same commands that a person would
type; each is printed before it runs. The lab is left up.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.places import Bucket
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.devlab import lab
from backup_orchestration.devlab.parts import environment
from backup_orchestration.devlab.paths import DevlabPaths, devlab_of
from backup_orchestration.homelab.load import load
from backup_orchestration.operations.status import judge
from backup_orchestration.providers._restic_cli import RESTIC

_SECONDS = 300.0
_VICTIM = "gitlab/config"
_MIRRORED = "minio/registry"


def play(directory: Path) -> int:
    """Play the demo below this directory; returns the exit code.

    Raises:
        HomelabError: something did not go as it must.
    """
    stage = _Stage(devlab_of(directory))
    stage.title("An example lab: two S3 stores, PostgreSQL, Radicale, and stand-ins for five services")
    lab.up(stage.paths, click.echo)
    _prove(stage)
    newest, pack = _damage(stage)
    _mend(stage, newest, pack)
    _damage_mirror(stage)
    stage.title("All of it")
    stage.homelab("backup", "status", expect=0)
    click.echo()
    click.echo("All is fresh, and the lab is up; Dagster's page is at " + str(lab.describe(stage.paths)["ui_url"]))
    click.echo("Look around with `.venv/bin/homelab backup status`, `list` and `policies`.")
    click.echo("Stop it with `.venv/bin/homelab devlab down`; `--purge` also removes what it has made.")
    return 0


def _prove(stage: _Stage) -> None:
    stage.title("Take a snapshot of each, restore it into a throwaway lab, and probe it")
    stage.homelab("backup", "run", "--all", expect=0)
    stage.homelab("backup", "restore-test", "--all", expect=0)
    stage.homelab("backup", "status", expect=0)


def _damage(stage: _Stage) -> tuple[str, Path]:
    """Flip one bit of a file that only the newest snapshot uses; returns that snapshot and the damaged file."""
    stage.title("A new file, a new snapshot, and one flipped bit in the repository")
    before = set(stage.packs())
    # Incompressible and larger than all else, so that the bit that is flipped lies in this file's own content. A
    # snapshot that lost a directory or its manifest instead is mended by nothing: neither is ever stored again alike.
    (stage.paths.services / _VICTIM / "new.bin").write_bytes(os.urandom(256 * 1024))
    stage.homelab("backup", "run", "--target", _VICTIM, expect=0)
    fresh = max(set(stage.packs()) - before, key=lambda path: path.stat().st_size)
    _flip(stage, fresh)
    newest = stage.newest(_VICTIM)
    stage.title("The restore test finds it, and the older snapshot is tested again before it counts")
    done = stage.homelab("backup", "restore-test", "--target", _VICTIM, expect=1)
    stage.insist(done, "restore test failed: ", "protection: suspect", "restore test passed", "protection: fresh")
    stage.homelab("backup", "status", "--target", _VICTIM, expect=0)
    return newest, fresh


def _mend(stage: _Stage, newest: str, pack: Path) -> None:
    stage.title("Mend the repository, take a snapshot that reads everything anew, and prove it")
    stage.restic("repair", "packs", pack.name, "--retry-lock", "10m")  # the daemon may be testing the older one
    stage.homelab("backup", "run", "--target", _VICTIM, "--reread", expect=0)
    stage.homelab("backup", "restore-test", "--target", _VICTIM, expect=0)
    stage.homelab("backup", "restore-test", "--target", _VICTIM, "--snapshot", newest, expect=0)


def _damage_mirror(stage: _Stage) -> None:
    """Flip one bit of one object of the newest mirror of a bucket, see it named, and copy the object anew."""
    stage.title("A mirrored bucket: a second snapshot, and one flipped bit in one object of it")
    stage.homelab("backup", "run", "--target", _MIRRORED, expect=0)
    newest = stage.newest(_MIRRORED)
    mirrored = stage.paths.mirrored(_MIRRORED) / newest / "data"
    # The largest is one that the lab has made at first, and nobody writes anew.
    victim = max((path for path in mirrored.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    _flip(stage, victim)
    key = victim.relative_to(mirrored)
    stage.title("The restore test names the object; objects are stored as they are, so a copy from the source mends it")
    done = stage.homelab("backup", "restore-test", "--target", _MIRRORED, expect=1)
    stage.insist(done, "restore test failed: ", str(key), "protection: suspect", "protection: fresh")
    source = stage.paths.services / _MIRRORED / key
    click.secho(f"$ cp {source.relative_to(stage.paths.home)} {victim.relative_to(stage.paths.home)}", fg="cyan")
    shutil.copyfile(source, victim)
    stage.homelab("backup", "restore-test", "--target", _MIRRORED, "--snapshot", newest, expect=0)


def _flip(stage: _Stage, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x01
    path.write_bytes(content)
    click.echo(f"(flipped one bit of {path.relative_to(stage.paths.home)})")


@dataclass(frozen=True)
class _Stage:
    """Where the demo plays."""

    paths: DevlabPaths

    def title(self, text: str) -> None:
        click.echo()
        click.secho(f"== {text}", bold=True)

    def homelab(self, *arguments: str, expect: int) -> Completed:
        """Run a command of ours, print it and what it says, and insist on its exit code."""
        click.secho(f"$ homelab {' '.join(arguments)}", fg="cyan")
        argv = [sys.executable, "-m", "backup_orchestration.cli.main", *arguments]
        done = run(Command(argv, _SECONDS, environment(self.paths), self.paths.home), on_stderr=click.echo)
        click.echo(done.stdout)
        click.secho(f"(exit code {done.returncode})", dim=True)
        if done.returncode != expect:
            raise HomelabError(f"the demo went wrong: exit code {done.returncode} instead of {expect}")
        return done

    def insist(self, done: Completed, *words: str) -> None:
        """See to it that a command said all of this."""
        for word in words:
            if word not in done.stdout:
                raise HomelabError(f"the demo went wrong: {word!r} was not said")

    def restic(self, *arguments: str) -> None:
        """Run restic itself on the victim's repository."""
        click.secho(f"$ restic {' '.join(arguments)}", fg="cyan")
        homelab = load(self.paths.settings)
        place = homelab.destinations["default"].place
        assert isinstance(place, Bucket)  # noqa: S101 - the lab's store is one
        key, secret = ((self.paths.secrets / name).read_text(encoding="utf-8") for name in ("access-key", "secret-key"))
        text = f"[default]\naws_access_key_id = {key}aws_secret_access_key = {secret}"
        with homelab.secrets.temporary_file(text) as credentials:
            environment: Mapping[str, str] = {
                "RESTIC_REPOSITORY": homelab.repository(_VICTIM).location,
                "RESTIC_PASSWORD_FILE": str(self.paths.secrets / "backup-password"),
                "RESTIC_CACERT": str(place.ca),
                "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            }
            argv = [str(tools.find(RESTIC).path), *arguments]
            # It salvages what it can into the working directory; that belongs to the lab.
            done = run(Command(argv, _SECONDS, environment, private_directory(self.paths.home / "salvaged")))
        click.echo(done.stdout)
        if done.returncode != 0:
            raise HomelabError(f"the demo went wrong: restic: {done.reason}")

    def packs(self) -> list[Path]:
        """Data files of the victim's repository, as they lie in the store."""
        return [path for path in (self.paths.repository(_VICTIM) / "data").rglob("*") if path.is_file()]

    def newest(self, target: str) -> str:
        """Key of its newest snapshot."""
        return judge(load(self.paths.settings), target).snapshots[0].key
