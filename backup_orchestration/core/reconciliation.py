"""What a repository lists, held against what is remembered of it. Pure.

What is missing from a list is missing only if the list was whole: whoever calls this knows whether it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from backup_orchestration.core.evidence import Evidence, Ledger, What
from backup_orchestration.core.snapshot import Snapshot, rfc3339
from backup_orchestration.core.status import differences


@dataclass(frozen=True)
class Finding:
    """Something that is otherwise than it was, and that nobody has written down yet.

    Attributes:
        what: `vanished` or `changed`.
        key: snapshot key.
        reason: for people; follows the key.
    """

    what: What
    key: str
    reason: str


def findings(listed: Sequence[Snapshot], ledger: Ledger, remembered: Collection[str]) -> list[Finding]:
    """What has vanished or changed since it was tested or remembered, by key; newest last.

    Args:
        listed: what the repository lists now.
        ledger: of the same target and destination. What retention removed is no loss, and what a note tells is known.
        remembered: snapshot keys that were there before the repository was asked.
    """
    tested, noted = ledger.last_tests, ledger.last_notes
    there = {item.key: item for item in listed}
    repositories = {item.repository_id for item in listed}
    found = []
    for key in sorted({*tested, *remembered}):
        note, record, snapshot = noted.get(key), tested.get(key), there.get(key)
        if snapshot is None:
            if note is None or note.what is What.CHANGED:
                found.append(Finding(What.VANISHED, key, _gone(record, repositories)))
        elif record and (note is None or note.what is What.REMOVED) and (other := differences(record, snapshot)):
            found.append(Finding(What.CHANGED, key, f"has another {', '.join(other)} than when it was tested"))
    return found


def _gone(record: Evidence | None, repositories: Collection[str]) -> str:
    if record is None:
        return "is no longer in the repository; it was never tested"
    where = "is no longer in the repository"
    if repositories and record.repository_id not in repositories:
        where = "was in another repository than the one there now, which was made anew"
    return f"{where}; it {'passed' if record.passed else 'failed'} a restore test at {rfc3339(record.finished_at)}"
