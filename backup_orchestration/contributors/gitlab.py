"""GitLab: its database, its configuration with the secrets file, its repositories, and its LFS objects.

Repositories are copied while people push (a best effort, GitLab's own advice is to stop writes): the references are
recorded first, and a restore test proves that everything they need came along.

Database, repositories and objects are one application, captured in that order: a commit too many does no harm, one that
the database knows and nobody has does. LFS objects are captured on Sundays only, being large and hardly changing:
**so the application recovery point is up to a week old**, though each target is fresh, and `status` names `gitlab/lfs`.
Give it a nightly cron where that is too old. Artifacts and uploads in buckets are targets of `minio.Minio`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backup_orchestration.core.policy import BackupPolicy, Probe, RestoreTest, Retention
from backup_orchestration.core.sources import Bucket, Files, Postgres

_RETENTION = Retention(keep_last=7, keep_daily=14, keep_weekly=4, keep_monthly=6)
_DATABASE_RETENTION = Retention(keep_last=3, keep_daily=7, keep_weekly=4, keep_monthly=6)
_LFS_RETENTION = Retention(keep_last=4, keep_daily=0, keep_weekly=4, keep_monthly=6)
_READY, _VERSION = "/-/readiness", "/api/v4/version"


class GitLab:
    """The database, `/etc/gitlab` and the repository storage.

    Args:
        config: absolute path of the directory with `gitlab.rb` and `gitlab-secrets.json`.
        repositories: absolute path of the storage root; forks borrow from pools inside it, so it goes whole.
        database: its PostgreSQL cluster; None: that is backed up elsewhere.
        lfs: the bucket of its LFS objects; None: they lie elsewhere. Its destination must be a bucket as well.
        api: how a program is started that serves GitLab's API from the restored database: an argument list, see the
            probe `http` for its placeholders. None: the database is asked by SQL alone.
        token: file on this host with a personal access token that the database knows; needed with `api`.
        destination: name of a destination.
        stand_in: no real GitLab runs on these files.
    """

    def __init__(
        self,
        config: Path,
        repositories: Path,
        *,
        database: Postgres | None = None,
        lfs: Bucket | None = None,
        api: Sequence[str] = (),
        token: Path | None = None,
        destination: str = "default",
        stand_in: bool = False,
    ) -> None:
        if api and (token is None or database is None):
            raise ValueError("api: it needs `database`, and a `token` to ask it with")
        self._config = config
        self._repositories = repositories
        self._database = database
        self._lfs = lfs
        self._api = api
        self._token = token
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`gitlab/config`, `gitlab/repositories`; `gitlab/postgres` and `gitlab/lfs` if they are named."""
        # Without this file two-factor logins, CI variables and tokens of a restored GitLab are lost.
        required = [str(self._config / "gitlab-secrets.json"), str(self._config / "gitlab.rb")]
        return [
            *([self._of_database(self._database)] if self._database else []),
            BackupPolicy(
                target="gitlab/config",
                description="configuration, with the secrets without which a restored GitLab is dead",
                source=Files(path=self._config),
                destination=self._destination,
                cron="0 3 * * *",
                retention=_RETENTION,
                restore_test=RestoreTest(probes=(Probe(name="files", options={"required": required}),)),
                stand_in=self._stand_in,
            ),
            BackupPolicy(
                target="gitlab/repositories",
                description="bare repositories, captured under live pushes",
                source=Files(path=self._repositories, exclude=("*.lock", "tmp_*")),
                destination=self._destination,
                cron="30 2 * * *",
                retention=_RETENTION,
                restore_test=RestoreTest(probes=(Probe(name="git"),)),
                after="gitlab/postgres" if self._database else None,
                stand_in=self._stand_in,
            ),
            *([self._of_objects(self._lfs)] if self._lfs else []),
        ]

    def _of_objects(self, bucket: Bucket) -> BackupPolicy:
        return BackupPolicy(
            target="gitlab/lfs",
            description="large files of repositories; weekly: the application recovery point is up to a week old",
            source=bucket,
            provider="minio-mirror",
            destination=self._destination,
            cron="0 4 * * 0",
            retention=_LFS_RETENTION,
            after="gitlab/repositories",
            stand_in=self._stand_in,
        )

    def _of_database(self, database: Postgres) -> BackupPolicy:
        return BackupPolicy(
            target="gitlab/postgres",
            description="users, projects, issues, tokens: all but the repositories' content",
            source=database,
            provider="pgbackrest",
            destination=self._destination,
            cron="0 2 * * *",
            retention=_DATABASE_RETENTION,
            restore_test=RestoreTest(probes=(self._answers(),) if self._api else ()),
            stand_in=self._stand_in,
        )

    def _answers(self) -> Probe:
        """The API tells its version to who shows the token, and to nobody else."""
        credentials = {"file": str(self._token), "scheme": "bearer"}
        requests = [
            {"path": _VERSION, "status": 401},
            {"path": _VERSION, "credentials": credentials, "contains": '"version"'},
        ]
        return Probe(name="http", options={"command": self._api, "requests": requests, "ready": {"path": _READY}})
