"""The job that restores: a form in the Launchpad whose default is a plan that touches nothing.

`apply` needs the word that the plan has told, `<target>@<key>`: nobody restores what he has not read about.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from backup_orchestration.core.errors import UsageError
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.snapshot import rfc3339
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.restoration import Restoration
from backup_orchestration.operations.restore import require_word
from backup_orchestration.operations.restore_plan import RestorePlan, Wanted, described, plan_restore
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.listener import Listener
from backup_orchestration.orchestration.reported import reported, teller
from backup_orchestration.orchestration.resources import provider_of
from backup_orchestration.orchestration.stale_runs import mark_run

_OP = "restore_snapshot"


class Mode(Enum):
    """What a run does."""

    PLAN = "plan"
    APPLY = "apply"


class RestoreConfig(dg.Config):
    """The form."""

    target: str = Field(description="`<service>/<name>`, or the name alone.")
    snapshot: str = Field(default="", description="A snapshot key; empty: the newest verified one.")
    at: str = Field(default="", description="A moment after a snapshot, RFC 3339; empty: the snapshot itself.")
    to: str = Field(default="", description="Absolute path, new or empty; empty: a directory below `home`.")
    in_place: bool = Field(default=False, description="Over the source; `to` stays empty. What is there is kept.")
    mode: Mode = Field(default=Mode.PLAN, description="`plan` touches nothing; `apply` restores.")
    confirm: str = Field(default="", description="For `apply`: the word that the plan has told, `<target>@<key>`.")


def restore_config(plan: RestorePlan) -> Mapping[str, Any]:
    """Run configuration that carries out a plan."""
    config = {
        "target": plan.snapshot.target,
        "snapshot": "" if plan.at else plan.snapshot.key,
        "at": plan.at.isoformat() if plan.at else "",
        "to": "" if plan.in_place else str(plan.place),
        "in_place": plan.in_place,
        "mode": Mode.APPLY.name,
        "confirm": plan.word,
    }
    return {"ops": {_OP: {"config": config}}}


def restore_job(homelab: Homelab, listener: Listener) -> dg.JobDefinition:
    """The job: one for all targets, because jobs are dear."""

    @dg.op(
        name=_OP,
        out=dg.Out(dg.Nothing),
        required_resource_keys=set(map(names.resource_key, homelab.providers)),
        description="Plans a restore, or restores into a new or empty directory or in place. The plan is its metadata.",
    )
    def restore_snapshot(context: dg.OpExecutionContext, config: RestoreConfig) -> None:
        done: Restoration | None = None
        with reported(listener, config.target):
            mark_run(context.instance, context.run)
            plan = plan_restore(homelab, homelab.resolve(config.target), _wanted(config))
            context.add_output_metadata(_plan_metadata(plan))
            context.log.info(REDACTOR.clean("; ".join((f"plan: {plan.word} to {plan.place}", *plan.warnings))))
            if config.mode is Mode.APPLY:
                require_word(plan, config.confirm)
                target = plan.snapshot.target
                provider = provider_of(context.resources, homelab.policy(target))
                done = provider.restore(plan, teller(context, listener, target))
                listener.restored(done)
        if done is not None:
            context.add_output_metadata(_result_metadata(done))
            came = _came_of(done)
            context.log.info(REDACTOR.clean(came))
            if not done.passed:
                reason = REDACTOR.clean(f"{came}, and {done.reason}")
                raise dg.Failure(reason, metadata=_result_metadata(done), allow_retries=False)

    @dg.job(name=names.RESTORE_JOB, description="Restores a snapshot; by default says what that would do.")
    def job() -> None:
        restore_snapshot()

    return job


def _came_of(done: Restoration) -> str:
    place = done.plan.place
    if not done.plan.in_place:
        return f"restored to {place}"
    if not done.passed:
        return f"{place} was not replaced and is as it was"
    return f"replaced {place}; what was there before is {done.kept / place.name if done.kept else 'nothing'}"


def _wanted(config: RestoreConfig) -> Wanted:
    if config.snapshot and config.at:
        raise UsageError("snapshot and at exclude each other", remedy="leave one empty")
    if config.to and not Path(config.to).is_absolute():
        raise UsageError(f"to: {config.to!r} is no absolute path", remedy="write it from / on")
    to = Path(config.to) if config.to else None
    return Wanted(config.snapshot or None, _moment(config.at), to, config.in_place)


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(f"at: {text!r} is no moment with a time zone", remedy="write e.g. 2026-11-25T02:30:00Z")
    return moment.astimezone(UTC)


def _plan_metadata(plan: RestorePlan) -> dict[str, Any]:
    shown: dict[str, Any] = {
        name: REDACTOR.clean("; ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in described(plan).items()
        if name not in ("commands", "places", "size_bytes", "age_seconds") and value not in (None, [])
    }
    commands = REDACTOR.clean_lines("\n".join(plan.commands))
    return {
        **shown,
        "at": rfc3339(plan.at) or "the snapshot itself",
        "size_bytes": plan.snapshot.size_bytes,
        "age_seconds": int(plan.age.total_seconds()),
        "restore_without_homelab": dg.MetadataValue.md(f"```sh\n{commands}\n```"),
    }


def _result_metadata(done: Restoration) -> dict[str, Any]:
    steps = REDACTOR.clean_lines("\n".join(done.plan.way.steps))
    probes = "\n".join(
        f"| {item.name} | {'passed' if item.passed else 'FAILED'} | {item.summary.replace('|', '/')} |"
        for item in done.probes
    )
    return {
        **_plan_metadata(done.plan),
        "restore_seconds": round(done.report.seconds, 3),
        "restored_bytes": done.report.bytes,
        "bytes_read": done.report.bytes_read,
        **({"kept": str(done.kept)} if done.kept else {}),
        "result": REDACTOR.clean(done.reason) or "every probe passed",
        "probed": dg.MetadataValue.md(f"| probe | result | found |\n|---|---|---|\n{probes}"),
        "put_back": dg.MetadataValue.md(f"```sh\n{steps}\n```"),
    }
