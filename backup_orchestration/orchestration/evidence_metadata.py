"""What Dagster shows of a restore test."""

from typing import Any

import dagster as dg

from backup_orchestration.core.evidence import Evidence


def evidence_metadata(evidence: Evidence) -> dict[str, Any]:
    """What the page of a verified snapshot shows and plots."""
    probes = "\n".join(
        f"| {item.name} | {'passed' if item.passed else 'FAILED'} | {item.summary.replace('|', '/')} |"
        for item in evidence.probes
    )
    return {
        "snapshot": evidence.snapshot_key,
        "evidence": evidence.sequence,
        "taken_at": dg.MetadataValue.timestamp(evidence.taken_at),
        "restore_seconds": evidence.restore_seconds,
        "bytes_read": evidence.bytes_read,
        "probes": dg.MetadataValue.md(f"| probe | result | found |\n|---|---|---|\n{probes}"),
        **dict(evidence.counts),
    }
