"""`homelab`: the commands and their options. What they do is in the modules they import when called."""

from __future__ import annotations

import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from backup_orchestration.core.errors import HomelabError, NotBuiltYetError, UsageError
from backup_orchestration.core.redaction import REDACTOR

_LATER = {
    "reconcile": "holds partitions and evidence against the repositories",
    "report": "writes a static page",
}


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """RFC 3339: without a zone nobody knows which moment is meant."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(f"{text!r} is no moment with a time zone, such as 2026-11-25T02:30:00Z")
    return moment.astimezone(UTC)


target_option = click.option("--target", "targets", multiple=True, help="A target, as `service/name`; repeatable.")
all_option = click.option("--all", "everything", is_flag=True, help="Every declared target.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backup-orchestration")
def homelab() -> None:
    """Back up every service of a homelab, and prove each backup by restoring it.

    Settings: HOMELAB_SETTINGS, else ./homelab.toml, else the devlab of this directory.
    Exit codes: 0 done, 1 something failed, 2 asked for wrongly.
    """


@homelab.command()
@click.option("--backups", type=click.Path(path_type=Path), default=Path("backups"), show_default=True,
              help="Directory for the backups; better on another disk.")  # fmt: skip
def init(backups: Path) -> None:
    """Write homelab.toml here, every field explained, and the secrets it needs."""
    from backup_orchestration.cli.init import write_settings

    write_settings(Path.cwd(), backups)


@homelab.group()
def backup() -> None:
    """Take, prove and list backups."""


@backup.command()
@target_option
@all_option
@click.option("--schedule", is_flag=True, help="Run everything on its schedule, until it is stopped.")
@click.option("--reread", is_flag=True, help="Read every file anew; needed after `restic repair packs`.")
@click.option("--new-repository", is_flag=True, help="Start a new repository where one has vanished.")
def run(targets: tuple[str, ...], everything: bool, schedule: bool, reread: bool, new_repository: bool) -> None:
    """Take a snapshot of each target and read it back."""
    from backup_orchestration.cli.runs import run_backups
    from backup_orchestration.operations.backup import Wish

    if schedule:
        if targets or everything or reread or new_repository:
            raise UsageError("--schedule runs every declared policy", remedy="leave the other options away")
        from backup_orchestration.cli.daemon import run_daemon

        run_daemon()
    wish = Wish(new_repository=new_repository, reread=reread)
    sys.exit(run_backups(targets, everything=everything, wish=wish))


@backup.command("restore-test")
@target_option
@all_option
@click.option("--snapshot", metavar="KEY", help="A snapshot key of `list`; default the newest snapshot.")
@click.option("--at", metavar="TIME", callback=_moment, help="A moment after a snapshot, where the provider keeps "
              "what came then: RFC 3339, e.g. 2026-11-25T02:30:00Z.")  # fmt: skip
def restore_test(targets: tuple[str, ...], everything: bool, snapshot: str | None, at: datetime | None) -> None:
    """Restore a snapshot of each target into a throwaway lab and probe it."""
    from backup_orchestration.cli.runs import run_restore_tests

    sys.exit(run_restore_tests(targets, everything=everything, snapshot=snapshot, at=at))


@backup.command()
@target_option
@all_option
@click.option("--plan", "only_plan", is_flag=True, help="Only show what would be removed, and why the rest stays.")
@click.option("--force", type=click.IntRange(min=1), metavar="N", help="Let N snapshots go where that is more than "
              "half of them; N is what the plan says.")  # fmt: skip
@json_option
def prune(targets: tuple[str, ...], everything: bool, only_plan: bool, force: int | None, as_json: bool) -> None:
    """Remove what the retention of each target does not keep; shows the plan first."""
    from backup_orchestration.cli.prune import show_or_apply

    sys.exit(show_or_apply(targets, everything=everything, only_plan=only_plan, force=force, as_json=as_json))


@backup.command()
@click.option("--target", required=True, help="A target, as `service/name`.")
@click.option("--snapshot", metavar="KEY", help="A snapshot key of `list`; needed for one that is not verified.")
@click.option("--latest-verified", is_flag=True, help="The newest verified snapshot; this is the default.")
@click.option("--at", metavar="TIME", callback=_moment, help="A moment after a snapshot; as for `restore-test`.")
@click.option("--to", type=click.Path(path_type=Path), metavar="DIRECTORY", help="New or empty; default: one below "
              "`home`.")  # fmt: skip
@click.option("--plan", "only_plan", is_flag=True, help="Only show what would happen.")
@click.option("--in-place", is_flag=True, help="Over the source, where its files stand; what is there now is kept "
              "beside it.")  # fmt: skip
@click.option("--confirm", metavar="WORD", help="For --in-place: the word that the plan shows, TARGET@KEY.")
@click.option("--resume", is_flag=True, help="Bring to an end what a killed restore --in-place has begun.")
@json_option
def restore(
    target: str,
    snapshot: str | None,
    latest_verified: bool,
    at: datetime | None,
    to: Path | None,
    only_plan: bool,
    in_place: bool,
    confirm: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Restore a snapshot into a new or empty directory, or in place, and probe a copy; shows the plan first."""
    from backup_orchestration.cli.restore import resume_killed, show_or_restore
    from backup_orchestration.operations.restore_plan import Wanted

    if resume:
        if any((snapshot, latest_verified, at, to, only_plan, in_place, confirm, as_json)):
            raise UsageError("--resume needs a target and nothing else", remedy="leave the other options away")
        resume_killed(target)
        return
    if confirm is not None and not in_place:
        raise UsageError("--confirm is for --in-place: a directory needs no word", remedy="leave it away")
    if sum((snapshot is not None, latest_verified, at is not None)) > 1:
        raise UsageError("--snapshot, --latest-verified and --at exclude each other", remedy="leave all but one away")
    wanted = Wanted(snapshot, at, to, in_place)
    sys.exit(show_or_restore(target, wanted, confirm, only_plan=only_plan, as_json=as_json))


@backup.command("list")
@target_option
@json_option
def list_(targets: tuple[str, ...], as_json: bool) -> None:
    """List snapshots, newest first, and whether each is verified."""
    from backup_orchestration.cli.views import show_snapshots

    sys.exit(show_snapshots(targets, as_json=as_json))


@backup.command()
@target_option
@json_option
@click.option("--applications", is_flag=True, help="Of applications, whose targets come after one another.")
def status(targets: tuple[str, ...], as_json: bool, applications: bool) -> None:
    """Show whether each target is protected; exit code 1 unless all are fresh."""
    if applications:
        from backup_orchestration.cli.applications import show_applications

        sys.exit(show_applications(targets, as_json=as_json))
    from backup_orchestration.cli.views import show_status

    sys.exit(show_status(targets, as_json=as_json))


@backup.command()
@target_option
@json_option
def ledger(targets: tuple[str, ...], as_json: bool) -> None:
    """Name what Dagster shows and evidence does not bear out; exit code 1 if there is any."""
    from backup_orchestration.cli.ledger import show_ledger

    sys.exit(show_ledger(targets, as_json=as_json))


@backup.command()
@json_option
def policies(as_json: bool) -> None:
    """Show what was loaded, and from where."""
    from backup_orchestration.cli.views import show_policies

    show_policies(as_json=as_json)


@backup.command()
@target_option
@click.option("--to", type=click.Path(path_type=Path), metavar="DIRECTORY", required=True, help="A new one.")
@click.option("--with-secrets", is_flag=True, help="Put in what opens the repositories: keep the kit as a key.")
@json_option
def kit(targets: tuple[str, ...], to: Path, with_secrets: bool, as_json: bool) -> None:
    """Write a directory from which everything is restored with plain tools alone, to be kept elsewhere."""
    from backup_orchestration.cli.kit import write_kit

    sys.exit(write_kit(targets, to, with_secrets=with_secrets, as_json=as_json))


@backup.command()
@target_option
def runbook(targets: tuple[str, ...]) -> None:
    """Print the steps that restore each target with plain tools."""
    from backup_orchestration.cli.kit import show_runbook

    sys.exit(show_runbook(targets))


@backup.command()
@click.option("--install", is_flag=True, help="Unpack missing tools beside the system, where that is possible.")
@click.option("--devlab", is_flag=True, help="Look at what the example lab and the tests need, and at no settings.")
def doctor(install: bool, devlab: bool) -> None:
    """Say what is missing, and what installs it."""
    from backup_orchestration.cli.doctor import examine

    sys.exit(examine(install=install, devlab=devlab))


@homelab.group()
def devlab() -> None:
    """The example lab."""


@devlab.command()
def up() -> None:
    """Start the lab below this directory: store, services, Dagster's page and daemon. Starts only what is missing."""
    from backup_orchestration.devlab import lab, report

    paths = report.here()
    lab.up(paths, click.echo)
    report.show(paths, as_json=False)


@devlab.command()
@click.option("--purge", is_flag=True, help="Remove everything the lab has made, backups too.")
def down(purge: bool) -> None:
    """Stop the lab; its data stays."""
    from backup_orchestration.devlab import lab, report

    lab.down(report.here(), purge=purge)


@devlab.command("status")
@json_option
def devlab_status(as_json: bool) -> None:
    """Say where the lab is and whether it is up; exit code 1 when it is not."""
    from backup_orchestration.devlab import lab, report

    paths = report.here()
    report.show(paths, as_json=as_json)
    sys.exit(0 if lab.is_up(paths) else 1)


@devlab.command()
def demo() -> None:
    """Protect the lab's services, damage a backup, and see it found out. Leaves the lab up."""
    from backup_orchestration.devlab.demo import play

    sys.exit(play(Path.cwd()))


def _later(name: str, purpose: str, where: str) -> click.Command:
    def refuse(**_: Any) -> None:
        raise NotBuiltYetError(f"`homelab {where} {name}` is not built yet", remedy="see CHANGELOG.md for what is")

    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["anything"], nargs=-1, type=click.UNPROCESSED)],
        help=f"Not built yet: {purpose}.",
        context_settings={"ignore_unknown_options": True},
    )


for _name, _purpose in _LATER.items():
    backup.add_command(_later(_name, _purpose, "backup"))


def main() -> None:
    """Entry point: one line for an error, its exit code, no traceback for what was foreseen."""
    try:
        homelab(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except HomelabError as error:
        for line in str(error).splitlines():
            click.echo(f"{'error' if isinstance(error, UsageError) else 'failed'}: {REDACTOR.clean(line)}", err=True)
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - a defect; its traceback may hold a secret
        for line in traceback.format_exc().splitlines():
            click.echo(REDACTOR.clean(line), err=True)
        click.echo("failed: this is a defect of homelab; report it with the lines above", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
