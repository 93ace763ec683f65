"""MinIO, or any other store that speaks S3: GitLab's artifacts and uploads, a registry, packages, Vagrant boxes.

Buckets are mirrored object by object, with what belongs to each. Vagrant boxes go through a staged copy into restic
instead: versions of one box share most of their bytes, which it stores once, and encrypts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from backup_orchestration.core.policy import BackupPolicy, Retention
from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.core.sources import Bucket, Export

_MIRRORED = {
    "gitlab-artifacts": ("15 4 * * *", "job artifacts of GitLab's pipelines"),
    "gitlab-uploads": ("10 4 * * *", "files attached in GitLab: pictures, designs, avatars"),
    "nuget-packages": ("40 4 * * *", "published packages"),
    "registry": ("30 4 * * *", "container images: blobs, and the manifests that name them"),
}
_STAGED = {"vagrant-boxes": ("50 4 * * *", "Vagrant boxes, staged and deduplicated")}
_RETENTION = Retention(keep_last=3, keep_daily=7, keep_weekly=4, keep_monthly=3)


class Minio:
    """The buckets of one store.

    Args:
        endpoint: e.g. `https://minio.lab.example:9000`.
        access_key, secret_key: files on this host that hold them; reading and listing is all they must allow.
        ca: absolute path of the certificates that the endpoint's is checked by; None: the system's.
        buckets: which of `gitlab-artifacts`, `gitlab-uploads`, `nuget-packages`, `registry` and `vagrant-boxes` there
            are.
        gitlab: the target after which GitLab's buckets are captured, its repositories; None: GitLab is not here.
        destination: name of a destination; a bucket, for those that are mirrored.
        stand_in: it is not the real service.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        access_key: Path,
        secret_key: Path,
        ca: Path | None = None,
        buckets: Sequence[str] = (*_MIRRORED, *_STAGED),
        gitlab: str | None = None,
        destination: str = "default",
        stand_in: bool = False,
    ) -> None:
        unknown = sorted(set(buckets) - set(_MIRRORED) - set(_STAGED))
        if unknown:
            raise ValueError(f"buckets: {unknown[0]!r} is none of {', '.join((*_MIRRORED, *_STAGED))}")
        self._endpoint = endpoint
        self._access_key = access_key
        self._secret_key = secret_key
        self._ca = ca
        self._buckets = buckets
        self._gitlab = gitlab
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`minio/<bucket>` for each bucket."""
        return [self._mirrored(name) if name in _MIRRORED else self._staged(name) for name in self._buckets]

    def _mirrored(self, bucket: str) -> BackupPolicy:
        cron, description = _MIRRORED[bucket]
        return BackupPolicy(
            target=f"minio/{bucket}",
            description=description,
            source=Bucket(
                endpoint=self._endpoint,
                bucket=bucket,
                ca=self._ca,
                access_key=SecretRef(file=self._access_key),
                secret_key=SecretRef(file=self._secret_key),
            ),
            provider="minio-mirror",
            destination=self._destination,
            cron=cron,
            retention=_RETENTION,
            after=self._gitlab if bucket.startswith("gitlab-") else None,
            stand_in=self._stand_in,
        )

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
