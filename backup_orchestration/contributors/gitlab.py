"""GitLab: its configuration with the secrets file, and its repositories.

Repositories are copied while people push (a best effort, GitLab's own advice is to stop writes): the references are
recorded first, and a restore test proves that everything they need came along. The database, LFS and
uploads are targets of their own.
"""

from __future__ import annotations

from pathlib import Path

from backup_orchestration.core.policy import BackupPolicy, Probe, RestoreTest, Retention
from backup_orchestration.core.sources import Files

_RETENTION = Retention(keep_last=7, keep_daily=14, keep_weekly=4, keep_monthly=6)


class GitLab:
    """`/etc/gitlab` and the repository storage.

    Args:
        config: absolute path of the directory with `gitlab.rb` and `gitlab-secrets.json`.
        repositories: absolute path of the storage root; forks borrow from pools inside it, so it goes whole.
        destination: name of a destination.
        stand_in: no real GitLab runs on these files.
    """

    def __init__(
        self, config: Path, repositories: Path, *, destination: str = "default", stand_in: bool = False
    ) -> None:
        self._config = config
        self._repositories = repositories
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`gitlab/config` and `gitlab/repositories`."""
        # Without this file two-factor logins, CI variables and tokens of a restored GitLab are lost.
        required = [str(self._config / "gitlab-secrets.json"), str(self._config / "gitlab.rb")]
        return [
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
                stand_in=self._stand_in,
            ),
        ]
