"""MinIO, or any other store that speaks S3: Vagrant boxes, through a staged copy into restic.

Versions of one box share most of their bytes, which it stores once, and encrypts.
"""

from __future__ import annotations

import sys
from pathlib import Path

from backup_orchestration.core.policy import BackupPolicy, Retention
from backup_orchestration.core.sources import Export

_STAGED = {"vagrant-boxes": ("50 4 * * *", "Vagrant boxes, staged and deduplicated")}
_RETENTION = Retention(keep_last=3, keep_daily=7, keep_weekly=4, keep_monthly=3)


class Minio:
    """The buckets of one store.

    Args:
        endpoint: e.g. `https://minio.lab.example:9000`.
        access_key, secret_key: files on this host that hold them; reading and listing is all they must allow.
        ca: absolute path of the certificates that the endpoint's is checked by; None: the system's.
        destination: name of a destination.
        stand_in: it is not the real service.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        access_key: Path,
        secret_key: Path,
        ca: Path | None = None,
        destination: str = "default",
        stand_in: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._access_key = access_key
        self._secret_key = secret_key
        self._ca = ca
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`minio/vagrant-boxes`."""
        return [self._staged(name) for name in _STAGED]

    def _staged(self, bucket: str) -> BackupPolicy:
        cron, description = _STAGED[bucket]
        module = "backup_orchestration.contributors.bucket_export"
        keys = ("--access-key-file", str(self._access_key), "--secret-key-file", str(self._secret_key))
        ca = ("--ca", str(self._ca)) if self._ca else ()
        return BackupPolicy(
            target=f"minio/{bucket}",
            description=description,
            source=Export(command=(sys.executable, "-m", module, self._endpoint, bucket, *keys, *ca)),
            destination=self._destination,
            cron=cron,
            retention=_RETENTION,
            stand_in=self._stand_in,
        )
