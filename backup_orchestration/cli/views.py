"""`homelab backup list`, `status` and `policies`: look and change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from backup_orchestration.cli.applications import show_block
from backup_orchestration.cli.select import chosen_or_all
from backup_orchestration.cli.show import age, complain, say, say_json, say_table
from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.secrets import describe
from backup_orchestration.core.snapshot import Snapshot, rfc3339
from backup_orchestration.core.status import Assessment, Protection, Verdict
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.operations.status import TargetStatus, status

_WIDEST = 60


def show_snapshots(targets: Sequence[str], *, as_json: bool) -> int:
    """List snapshots, newest first; returns the exit code."""
    homelab = load()
    found = status(homelab, chosen_or_all(homelab, targets))
    pairs = [(item, one.assessment) for one in found if one.assessment for item in one.assessment.snapshots]
    pairs.sort(key=lambda pair: (pair[0].taken_at, pair[0].target), reverse=True)
    rows = [_snapshot_row(snapshot, assessment) for snapshot, assessment in pairs]
    if as_json:
        say_json(rows)
    else:
        say_table([_snapshot_line(snapshot, assessment) for snapshot, assessment in pairs])
        if not rows:
            say("no snapshots")
    return _unreadable(found)


def show_status(targets: Sequence[str], *, as_json: bool) -> int:
    """Show protection; returns 0 only if every target is fresh."""
    homelab = load()
    names = chosen_or_all(homelab, targets)
    from backup_orchestration.orchestration.history import failed_backups  # after all that is refused without Dagster

    found = status(homelab, names)
    failed = {target: run.at for target, run in failed_backups(homelab, names).items()}
    if as_json:
        rows = [_status_row(homelab, item, failed.get(item.target)) for item in found]
        say_json(sorted(rows, key=lambda row: row["recovery_point_at"] or "", reverse=True))
    else:
        say_table([_status_line(item, failed.get(item.target), homelab.now()) for item in found])
        for item in found:
            if item.reason:
                say(f"{item.target}: {item.reason}")
        show_block(homelab, found)
    return 0 if all(item.protection is Protection.FRESH for item in found) else 1


def show_policies(*, as_json: bool) -> None:
    """Show what was loaded, and from where."""
    homelab = load()
    rows = [_policy_row(homelab, target) for target in homelab.policies]
    if as_json:
        say_json(rows)
        return
    say(f"settings      {homelab.path}")
    say(f"home          {homelab.home} (Dagster's home: {homelab.home / 'dagster'})")
    for name, destination in homelab.destinations.items():
        say(f"destination   {name}: {destination.place} (password: {describe(destination.password)})")
    say(f"evidence      {homelab.evidence_place} (key: {describe(homelab.settings.evidence.key)})")
    for kind, parts in (("provider", homelab.providers), ("probe", homelab.probes)):
        for name, found in parts.items():
            say(f"{kind:<12}  {name}: {found.origin}")
    for name in homelab.settings.notifications:
        say(f"notification  {name}: alerts are posted to it")
    say("")
    say_table(
        [
            {key: _short(str(row[key])) for key in ("target", "source", "provider", "cron", "rpo", "probes")}
            for row in rows
        ]
    )
    for row in rows:
        say(f"{row['target']}: {_played(row)}declared in {row['declared_in']}")


def _snapshot_row(snapshot: Snapshot, assessment: Assessment) -> dict[str, Any]:
    return {
        "target": snapshot.target,
        "provider": snapshot.provider,
        "repository": snapshot.repository,
        "snapshot_id": snapshot.snapshot_id,
        "key": snapshot.key,
        "taken_at": rfc3339(snapshot.taken_at),
        "size_bytes": snapshot.size_bytes,
        "description": snapshot.description,
        "verified": assessment.verdicts[snapshot.key] is Verdict.VERIFIED,
        "tested_at": rfc3339(assessment.tested_at.get(snapshot.key)),
    }


def _snapshot_line(snapshot: Snapshot, assessment: Assessment) -> dict[str, str]:
    return {
        "target": snapshot.target,
        "key": snapshot.key,
        "taken_at": rfc3339(snapshot.taken_at) or "",
        "bytes": f"{snapshot.size_bytes:,}",
        "restore_test": assessment.verdicts[snapshot.key].value,
        "tested_at": rfc3339(assessment.tested_at.get(snapshot.key)) or "-",
    }


def _status_row(homelab: Homelab, item: TargetStatus, failed: datetime | None) -> dict[str, Any]:
    policy = homelab.policy(item.target)
    found = item.assessment
    return {
        "target": item.target,
        "protection": item.protection.value,
        "recovery_point_at": rfc3339(found.recovery_point.taken_at) if found and found.recovery_point else None,
        "rpo_seconds": int(policy.effective_rpo.total_seconds()),
        "last_backup": _last_backup(found, failed),
        "last_restore_test": _last_test(found.last_test if found else None),
        "encryption": homelab.provider(policy).encryption,
        "reason": item.reason,
    }


def _status_line(item: TargetStatus, failed: datetime | None, now: datetime) -> dict[str, str]:
    found = item.assessment
    backup = _last_backup(found, failed)
    test = _last_test(found.last_test if found else None)
    point = found.recovery_point if found else None
    return {
        "target": item.target,
        "protection": item.protection.value,
        "recovery_point": rfc3339(point.taken_at) or "" if point else "-",
        "age": age(now - point.taken_at) if point else "-",
        "last_backup": f"{backup['outcome']} {backup['at']}" if backup else "-",
        "last_restore_test": f"{test['outcome']} {test['at']}" if test else "-",
    }


def _last_backup(found: Assessment | None, failed: datetime | None) -> dict[str, Any] | None:
    """The newest snapshot, or the failed run after it that only Dagster remembers."""
    newest = found.snapshots[0] if found and found.snapshots else None
    if failed is not None and (newest is None or failed > newest.taken_at):
        return {"at": rfc3339(failed), "outcome": "failed", "key": None}
    return {"at": rfc3339(newest.taken_at), "outcome": "completed", "key": newest.key} if newest else None


def _last_test(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    outcome = "passed" if evidence.passed else "failed"
    return {"at": rfc3339(evidence.finished_at), "outcome": outcome, "key": evidence.snapshot_key}


def _policy_row(homelab: Homelab, target: str) -> dict[str, Any]:
    found = homelab.policies[target]
    policy, source = found.part, found.part.source
    counts = policy.retention
    return {
        "target": target,
        "description": policy.description,
        "stand_in": policy.stand_in,
        "source": f"{source.kind}: {source.summary}",
        "provider": policy.provider,
        "destination": policy.destination,
        "repository": homelab.repository(target).location,
        "cron": policy.cron,
        "after": policy.after,
        "timezone": policy.timezone,
        "rpo": age(policy.effective_rpo),
        "rpo_seconds": int(policy.effective_rpo.total_seconds()),
        "retention": f"{counts.keep_last}/{counts.keep_daily}/{counts.keep_weekly}/{counts.keep_monthly}",
        "restore_test_cron": policy.restore_test.cron,
        "probes": ", ".join(probe.name for probe in policy.probes),
        "declared_in": found.origin,
    }


def _played(row: Mapping[str, Any]) -> str:
    return "served by a STAND-IN, not by the real service; " if row["stand_in"] else ""


def _short(text: str) -> str:
    """Both ends of what is too wide for a table: a path says most at its end. `--json` has all of it."""
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST // 2 - 1]}…{text[-_WIDEST // 2 :]}"


def _unreadable(found: Sequence[TargetStatus]) -> int:
    for item in found:
        if item.assessment is None:
            complain(f"{item.target}: failed: {item.error}")
    return 1 if any(item.assessment is None for item in found) else 0
