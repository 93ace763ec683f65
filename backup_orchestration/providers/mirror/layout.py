"""How a mirror lies in its bucket, and how it is known to be ours and whole.

    <service>-<name>/REPOSITORY                           id of the repository, authenticated
    <service>-<name>/<snapshot key>/data/<object key>     the objects
                                    long/<SHA-256>        those whose keys leave no room for what stands in front
                                    manifest.jsonl.gz     one line for each object
                                    COMPLETE              written last, authenticated, binds the manifest

What has no valid COMPLETE is no snapshot. It is authenticated by a key that is made from the destination's password,
which the store does not hold.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

from backup_orchestration.core.frozen import Frozen, tuple_of

REPOSITORY, COMPLETE, DATA, LONG, TRIAL = "REPOSITORY", "COMPLETE", "data/", "long/", "trial/"
_PURPOSE = b"homelab mirror 1\n"
_LONGEST_KEY = 1024


class Complete(Frozen):
    """What COMPLETE says.

    Attributes:
        taken_at: right before the source was listed.
        manifest_sha256: of the manifest as it is stored.
        objects, bytes: how many, and their size.
        changed, deleted: objects that were written anew, or deleted, between the listing and their copy.
        own_metadata: names of metadata that the server adds to what it copies; they count for nothing.
        by_mc: objects that `mc mirror` copied, and whose copies held; None: it was not asked.
    """

    version: int = 1
    target: str
    repository_id: str
    snapshot_id: str
    key: str
    run_id: str
    taken_at: datetime
    finished_at: datetime
    manifest_sha256: str
    objects: int
    bytes: int
    changed: int = 0
    deleted: int = 0
    own_metadata: Annotated[tuple[str, ...], BeforeValidator(tuple_of)] = ()
    description: str = ""
    by_mc: int | None = None


class Seal:
    """Authenticates small records.

    Args:
        password: of the destination.
    """

    def __init__(self, password: str) -> None:
        self._key = hashlib.sha256(_PURPOSE + password.encode()).digest()

    def seal(self, record: dict[str, Any]) -> bytes:
        """The record with its MAC, as JSON."""
        return json.dumps({"record": record, "mac": self._mac(record)}, indent=2).encode()

    def unseal(self, data: bytes) -> dict[str, Any]:
        """The record.

        Raises:
            ValueError: it is not ours, or was edited.
        """
        read = json.loads(data)
        record = read.get("record") if isinstance(read, dict) else None
        if not isinstance(record, dict) or not hmac.compare_digest(self._mac(record), str(read.get("mac"))):
            raise ValueError("its authentication does not match")
        return record

    def _mac(self, record: dict[str, Any]) -> str:
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()


def name_of(key: str, prefix: str) -> str:
    """Where an object is kept below its snapshot's prefix.

    Args:
        key: of the object.
        prefix: of the snapshot in its bucket, with the slash at its end.
    """
    if len(f"{prefix}{DATA}{key}".encode()) <= _LONGEST_KEY:
        return f"{DATA}{key}"
    return f"{LONG}{hashlib.sha256(key.encode()).hexdigest()}"
