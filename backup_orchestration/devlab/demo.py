"""`homelab devlab demo`: a backup is taken, proved, damaged, found out, and mended.

Everything happens in `.homelab/devlab` below the present directory, through the same commands that a person would
type; each is printed before it runs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from backup_orchestration.core import settings, tools
from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.devlab import journal
from backup_orchestration.homelab.load import load
from backup_orchestration.operations.status import judge
from backup_orchestration.providers._restic_cli import RESTIC

_MARK = ".homelab-devlab"
_SECONDS = 300.0
_FILES = "demo/notes"

_SERVICES = '''\
"""What the demo protects: a directory, and a database that is written all the while."""

from pathlib import Path

from backup_orchestration import BackupPolicy, Files, Sqlite

HERE = Path(__file__).parent / "services"


class Demo:
    def policies(self):
        return [
            BackupPolicy(target="demo/notes", source=Files(path=str(HERE / "notes")), description="a directory"),
            BackupPolicy(target="demo/journal", source=Sqlite(path=str(HERE / "journal.db")), description="live"),
        ]


contributor = Demo()
'''


def play(directory: Path) -> int:
    """Play the demo below this directory; returns the exit code.

    Raises:
        HomelabError: something did not go as it must.
    """
    home = _fresh_home(directory / settings.DEVLAB_SETTINGS.parent)
    stage = _Stage(home)
    stage.title("A homelab of one directory and one live SQLite database")
    stage.homelab("init", "--backups", "store", expect=0)
    (home / "services.py").write_text(_SERVICES, encoding="utf-8")
    with journal.writer(home / "services" / "journal.db"):
        _prove(stage)
        newest, pack = _damage(stage)
        _mend(stage, newest, pack)
    click.echo()
    click.echo("All is fresh. Look around with `.venv/bin/homelab backup status`, `list` and `policies`; the demo")
    click.echo(f"keeps its files in {home.relative_to(directory)} and leaves nothing running.")
    return 0


def _prove(stage: _Stage) -> None:
    stage.title("Take a snapshot of both, restore each into a throwaway lab, and probe it")
    stage.homelab("backup", "run", "--all", expect=0)
    stage.homelab("backup", "restore-test", "--all", expect=0)
    stage.homelab("backup", "status", expect=0)


def _damage(stage: _Stage) -> tuple[str, Path]:
    """Flip one byte of a file that only the newest snapshot uses; returns that snapshot and the damaged file."""
    stage.title("A new file, a new snapshot, and one flipped byte in the repository")
    before = set(stage.packs())
    # Incompressible and larger than all else, so that the byte that is flipped lies in this file's own content. A
    # snapshot that lost a directory or its manifest instead is mended by nothing: neither is ever stored again alike.
    (stage.home / "services" / "notes" / "new.bin").write_bytes(os.urandom(256 * 1024))
    stage.homelab("backup", "run", "--target", _FILES, expect=0)
    fresh = max(set(stage.packs()) - before, key=lambda path: path.stat().st_size)
    content = bytearray(fresh.read_bytes())
    content[len(content) // 3] ^= 0x01
    fresh.chmod(0o600)
    fresh.write_bytes(content)
    click.echo(f"(flipped one bit of {fresh.relative_to(stage.home)})")
    newest = stage.newest()
    stage.title("The restore test finds it, and the older snapshot is tested again before it counts")
    done = stage.homelab("backup", "restore-test", "--target", _FILES, expect=1)
    for words in ("restore test failed: ", "protection: suspect", "restore test passed", "protection: fresh"):
        if words not in done.stdout:
            raise HomelabError(f"the demo went wrong: {words!r} was not said")
    stage.homelab("backup", "status", "--target", _FILES, expect=0)
    return newest, fresh


def _mend(stage: _Stage, newest: str, pack: Path) -> None:
    stage.title("Mend the repository, take a snapshot that reads everything anew, and prove it")
    stage.restic("repair", "packs", pack.name)
    stage.homelab("backup", "run", "--target", _FILES, "--reread", expect=0)
    stage.homelab("backup", "restore-test", "--target", _FILES, expect=0)
    stage.homelab("backup", "restore-test", "--target", _FILES, "--snapshot", newest, expect=0)
    stage.homelab("backup", "status", expect=0)


@dataclass(frozen=True)
class _Stage:
    """Where the demo plays."""

    home: Path

    def title(self, text: str) -> None:
        click.echo()
        click.secho(f"== {text}", bold=True)

    def homelab(self, *arguments: str, expect: int) -> Completed:
        """Run a command of ours, print it and what it says, and insist on its exit code."""
        click.secho(f"$ homelab {' '.join(arguments)}", fg="cyan")
        argv = [sys.executable, "-m", "backup_orchestration.cli.main", *arguments]
        done = run(Command(argv, _SECONDS, self._environment(), self.home), on_stderr=click.echo)
        click.echo(done.stdout)
        click.secho(f"(exit code {done.returncode})", dim=True)
        if done.returncode != expect:
            raise HomelabError(f"the demo went wrong: exit code {done.returncode} instead of {expect}")
        return done

    def restic(self, *arguments: str) -> None:
        """Run restic itself on the demo's repository."""
        click.secho(f"$ restic {' '.join(arguments)}", fg="cyan")
        repository = {
            "RESTIC_REPOSITORY": str(self._repository),
            "RESTIC_PASSWORD_FILE": str(self.home / "secrets" / "backup-password"),
        }
        argv = [str(tools.find(RESTIC).path), *arguments]
        # It salvages what it can into the working directory; that belongs to the demo.
        done = run(Command(argv, _SECONDS, repository, private_directory(self.home / "salvaged")))
        click.echo(done.stdout)
        if done.returncode != 0:
            raise HomelabError(f"the demo went wrong: restic: {done.reason}")

    def packs(self) -> list[Path]:
        """Data files of the demo's repository."""
        return [path for path in (self._repository / "data").rglob("*") if path.is_file()]

    def newest(self) -> str:
        """Key of the newest snapshot."""
        return judge(load(self.home / settings.FILENAME), _FILES).snapshots[0].key

    @property
    def _repository(self) -> Path:
        return self.home / "store" / f"restic-{_FILES.replace('/', '-')}"

    def _environment(self) -> Mapping[str, str]:
        kept = ("HOMELAB_TOOLS", "XDG_DATA_HOME", "LANG")
        return {settings.VARIABLE: "", **{key: os.environ[key] for key in kept if key in os.environ}}


def _fresh_home(home: Path) -> Path:
    """An empty home of the demo's own; what is there and was not made by a demo is left alone.

    Raises:
        HomelabError: something else is there.
    """
    if home.exists():
        if not (home / _MARK).exists():
            raise HomelabError(f"{home} was not made by the demo", remedy="move it away; nothing was changed")
        shutil.rmtree(home)
    private_directory(home)
    (home / _MARK).touch()
    notes = home / "services" / "notes"
    notes.mkdir(parents=True)
    for number in range(1, 21):
        (notes / f"note-{number:02}.txt").write_text(f"note {number}\n" * number * 50, encoding="utf-8")
    (notes / "today.txt").symlink_to("note-20.txt")
    return home
