"""`homelab backup ledger`: what Dagster shows and evidence does not bear out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from backup_orchestration.cli.select import chosen_or_all
from backup_orchestration.cli.show import complain, say, say_json
from backup_orchestration.core.errors import HomelabError
from backup_orchestration.homelab.load import load


def show_ledger(targets: Sequence[str], *, as_json: bool) -> int:
    """Name every contradiction; returns 0 only if there is none and every target could be judged."""
    homelab = load()
    names = chosen_or_all(homelab, targets)
    from backup_orchestration.orchestration.ledger import contradictions  # imports Dagster

    found = []
    unread = 0
    for target in names:
        try:
            found += [(target, item) for item in contradictions(homelab, target)]
        except HomelabError as error:
            unread += 1
            complain(f"{target}: failed: {error}")
    if as_json:
        say_json([{"target": target, **asdict(item)} for target, item in found])
    else:
        for _, item in found:
            say(item.text)
        if not found and not unread:
            say("nothing that Dagster shows is contradicted by evidence")
    return int(bool(found or unread))
