"""`homelab backup kit` and `runbook`: how everything is restored without this project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backup_orchestration.cli.select import chosen_or_all
from backup_orchestration.cli.show import complain, say, say_json
from backup_orchestration.core.errors import StateError
from backup_orchestration.homelab.load import load
from backup_orchestration.operations import kit
from backup_orchestration.operations.runbook import Entry, entries, runbook


def show_runbook(targets: Sequence[str]) -> int:
    """Print the steps that restore each target with plain tools; returns 1 if the snapshot of one is not known."""
    homelab = load()
    found = entries(homelab, chosen_or_all(homelab, targets))
    say(runbook(homelab, found).rstrip("\n"))
    return _unknown(found)


def write_kit(targets: Sequence[str], directory: Path, *, with_secrets: bool, as_json: bool) -> int:
    """Write the recovery kit; returns 1 if the snapshot of a target is not known.

    Raises:
        StateError: it cannot be written.
    """
    homelab = load()
    names = chosen_or_all(homelab, targets)
    try:
        made = kit.write_kit(homelab, names, directory, with_secrets=with_secrets)
    except OSError as error:
        raise StateError(f"--to: {directory} cannot be written: {error}", remedy="name another directory") from error
    if as_json:
        say_json(
            {
                "directory": str(made.directory),
                "with_secrets": made.with_secrets,
                "secrets": made.secrets,
                "targets": [_row(entry) for entry in made.entries],
            }
        )
        return _unknown(made.entries)
    for entry in made.entries:
        say(f"{entry.policy.target}: restore/{entry.policy.slug}.sh: {entry.said}")
    say(f"written: {made.directory}; begin with README.md in it")
    if with_secrets:
        say("it opens every backup that it names: keep it apart from this machine, as you keep a key")
    else:
        say("no secret is in it; to restore from it alone, put into its secrets/, or write it with --with-secrets:")
        for field, where in made.secrets.items():
            say(f"  {field}: {where}")
    return _unknown(made.entries)


def _row(entry: Entry) -> dict[str, object]:
    return {
        "target": entry.policy.target,
        "script": f"restore/{entry.policy.slug}.sh",
        "snapshot": entry.snapshot.key if entry.snapshot else None,
        "verified": entry.verified,
        "needs": list(entry.needs),
    }


def _unknown(found: Sequence[Entry]) -> int:
    missing = [entry for entry in found if entry.snapshot is None]
    for entry in missing:
        complain(f"{entry.policy.target}: {entry.said}")
    return int(bool(missing))
