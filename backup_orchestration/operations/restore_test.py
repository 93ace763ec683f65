"""Restore one snapshot into a throwaway lab, run the probes, write the evidence.

Evidence says what the data is worth, so only the data may fail a test. That no room is left, that a password is
wrong or a store does not answer is an error: it proves nothing about the snapshot and leaves no evidence.
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

from backup_orchestration.core import tools
from backup_orchestration.core.errors import (
    HomelabError,
    PostgresError,
    ProbeFailedError,
    RestoreFailedError,
    RestoreTestFailedError,
    UnknownSnapshotError,
)
from backup_orchestration.core.evidence import Evidence, ProbeResult
from backup_orchestration.core.policy import Probe
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.core.readers import reading
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.time_limit import time_limit
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations.backup import LOCK_SECONDS
from backup_orchestration.operations.lab import Live, started
from backup_orchestration.operations.noting import evidence_lock
from backup_orchestration.probes.base import Restored
from backup_orchestration.providers.base import Repository, RestoreReport, RestoreSpec
from backup_orchestration.throwaway.process import ProcessLab, process_lab, reap
from backup_orchestration.throwaway.restored_cluster import START

RESTORE = "restore"
_REASON_CHARACTERS = 1000


def restore_test(
    homelab: Homelab,
    target: str,
    key: str,
    run_id: str,
    progress: Progress = silent,
    *,
    listed: Sequence[Snapshot] | None = None,
    at: datetime | None = None,
) -> Evidence:
    """Test one snapshot, always, also when evidence exists.

    Args:
        homelab: the installation.
        target: full name.
        key: snapshot key.
        run_id: of the run that does the test.
        progress: told of every step.
        listed: what the repository has just listed; default: it is asked.
        at: restore to this moment after the snapshot, which `Repository.covering` gave for it; the evidence says so,
            and proves nothing about the snapshot itself when it passed.

    Returns:
        The evidence as it was stored; `passed` says what the data is worth.

    Raises:
        UnknownSnapshotError: the repository lists no such snapshot.
        HomelabError: the test could not be carried out; there is no evidence.
    """
    repository = homelab.repository(target)
    snapshot = find_snapshot(repository.snapshots() if listed is None else listed, target, key)
    return _test(homelab, repository, snapshot, run_id, progress, at)


def find_snapshot(listed: Sequence[Snapshot], target: str, key: str) -> Snapshot:
    """The listed snapshot with this key.

    Raises:
        UnknownSnapshotError: there is none.
    """
    for snapshot in listed:
        if snapshot.key == key:
            return snapshot
    raise UnknownSnapshotError(
        f"{target} has no snapshot {key}",
        remedy=f"choose one of `homelab backup list --target {target}`" if listed else "take a backup first",
    )


def _test(
    homelab: Homelab,
    repository: Repository,
    snapshot: Snapshot,
    run_id: str,
    progress: Progress,
    at: datetime | None,
) -> Evidence:
    labs = homelab.home / "labs"
    reap(labs)
    began = homelab.now()
    results: list[ProbeResult] = []
    report: RestoreReport | None = None

    def waiting() -> None:
        progress(Update("waiting", message=f"{repository.location} is being pruned; waiting for that to end"))

    with process_lab(labs, snapshot.target.replace("/", "-")) as lab:
        clock = time.monotonic()
        try:
            spec = RestoreSpec(lab.data, witnessed=True, scratch=lab.root, at=at)
            with reading(homelab.home / "locks", repository.location, snapshot, timeout=LOCK_SECONDS, on_wait=waiting):
                report = repository.restore(snapshot, spec, progress)
        except RestoreFailedError as error:
            results = [_failed(RESTORE, error, time.monotonic() - clock)]
        else:
            results = [_restored(report)]
            restored = Restored(report.root, homelab.policy(snapshot.target), snapshot, began, at=at)
            results += probe_all(homelab, restored, lab, progress)
    evidence = _evidence(homelab, snapshot, run_id, began, results, report)
    return _append(homelab, evidence.model_copy(update={"at": at}))


def probe_all(homelab: Homelab, restored: Restored, lab: ProcessLab, progress: Progress) -> Sequence[ProbeResult]:
    """Start what the data needs, run every probe, stop it, and run those that look at what was stopped.

    Every probe runs, also after one has failed: a person wants to know all that is wrong. In declared order, those that
    change the data last.
    """
    kinds = {probe.name: homelab.probes[probe.name].part for probe in restored.policy.probes}
    declared = sorted(restored.policy.probes, key=lambda probe: kinds[probe.name].changes_data)
    results: list[ProbeResult] = []
    clock = time.monotonic()
    try:
        with started(restored, lab, progress) as live:
            results += _started(live)
            for probe in declared:
                if not kinds[probe.name].after_stop:
                    results.append(_probe(homelab, live.restored, probe, progress))
            clock = time.monotonic()
    except ProbeFailedError as error:
        return [*results, _failed(error.probe, error, time.monotonic() - clock)]
    return results + [_probe(homelab, restored, probe, progress) for probe in declared if kinds[probe.name].after_stop]


def _started(live: Live) -> Sequence[ProbeResult]:
    if not live.summary:
        return ()
    return (ProbeResult(name=START, passed=True, summary=_text(live.summary), seconds=round(live.seconds, 3)),)


def _probe(homelab: Homelab, restored: Restored, declared: Probe, progress: Progress) -> ProbeResult:
    progress(Update(f"probe {declared.name}"))
    kind = homelab.probes[declared.name].part
    clock = time.monotonic()
    try:
        with time_limit(declared.timeout, f"probe {declared.name}"):
            found = kind.check(restored, kind.options.model_validate(dict(declared.options)))
    except RestoreTestFailedError as error:
        return _failed(declared.name, error, time.monotonic() - clock)
    except PostgresError as error:  # the server runs on what was restored
        return _failed(declared.name, ProbeFailedError(error.message), time.monotonic() - clock)
    except HomelabError:
        raise  # no tool, no room, no time: that is not the data's fault
    except Exception as error:  # noqa: BLE001 - restored data may break a probe in any way; it has not passed
        wrapped = ProbeFailedError(f"{type(error).__name__}: {error}")
        return _failed(declared.name, wrapped, time.monotonic() - clock)
    return ProbeResult(
        name=declared.name,
        passed=True,
        summary=_text(found.summary),
        counts=dict(found.counts),
        seconds=round(time.monotonic() - clock, 3),
    )


def _restored(report: RestoreReport) -> ProbeResult:
    return ProbeResult(
        name=RESTORE,
        passed=True,
        summary=f"{report.files:,} entries, {report.bytes:,} bytes; {report.bytes_read:,} bytes read and checked",
        counts={"entries": report.files, "bytes": report.bytes},
        seconds=round(report.seconds, 3),
    )


def _failed(name: str, error: RestoreTestFailedError, seconds: float) -> ProbeResult:
    return ProbeResult(name=name, passed=False, summary=_text(error.message), seconds=round(seconds, 3))


def _evidence(
    homelab: Homelab,
    snapshot: Snapshot,
    run_id: str,
    started: datetime,
    results: Sequence[ProbeResult],
    report: RestoreReport | None,
) -> Evidence:
    policy = homelab.policy(snapshot.target)
    failed = next((item for item in results if not item.passed), None)
    counts: dict[str, int] = {}
    for item in results:
        counts.update(item.counts)
    return Evidence(
        target=snapshot.target,
        destination=policy.destination,
        provider=snapshot.provider,
        repository=snapshot.repository,
        repository_id=snapshot.repository_id,
        snapshot_id=snapshot.snapshot_id,
        snapshot_key=snapshot.key,
        taken_at=snapshot.taken_at,
        run_id=run_id,
        started_at=started,
        finished_at=homelab.now(),
        passed=failed is None and len(results) > 1,
        reason=f"{failed.name}: {failed.summary}" if failed else "",
        probes=tuple(results),
        counts=counts,
        size_bytes=snapshot.size_bytes,
        restore_seconds=round(report.seconds, 3) if report else 0.0,
        bytes_read=report.bytes_read if report else 0,
        versions=_versions(homelab, snapshot),
        host=socket.gethostname(),
    )


def _versions(homelab: Homelab, snapshot: Snapshot) -> dict[str, str]:
    provider = homelab.providers[snapshot.provider].part
    found = {needed.name: tools.dotted(tools.find(needed).version) for needed in provider.tools}
    return {
        "backup-orchestration": version("backup-orchestration"),
        "python": platform.python_version(),
        **found,
    }


def _append(homelab: Homelab, evidence: Evidence) -> Evidence:
    with evidence_lock(homelab, evidence.target):
        return homelab.evidence().append(evidence)


def _text(text: str) -> str:
    return REDACTOR.clean(text)[:_REASON_CHARACTERS]
