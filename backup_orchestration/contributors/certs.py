"""Certificate authority of a lab: its key, its certificate, and a wildcard certificate it issued."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backup_orchestration.core.policy import BackupPolicy, Probe, RestoreTest
from backup_orchestration.core.sources import Files


class Certs:
    """One directory with `ca.pem`, `ca.key`, `wildcard.pem` and `wildcard.key`.

    Args:
        directory: absolute path.
        host_names: names that the wildcard certificate must serve.
        destination: name of a destination.
        stand_in: the authority is a stand-in.
    """

    def __init__(
        self, directory: Path, host_names: Sequence[str], *, destination: str = "default", stand_in: bool = False
    ) -> None:
        self._directory = directory
        self._host_names = tuple(host_names)
        self._destination = destination
        self._stand_in = stand_in

    def policies(self) -> list[BackupPolicy]:
        """`certs/ca`."""
        files = {
            "certificate": str(self._directory / "wildcard.pem"),
            "key": str(self._directory / "wildcard.key"),
            "ca": str(self._directory / "ca.pem"),
            "ca_key": str(self._directory / "ca.key"),
        }
        probe = Probe(name="certificate", options={**files, "host_names": list(self._host_names)})
        return [
            BackupPolicy(
                target="certs/ca",
                description="the certificate authority and the wildcard certificate",
                source=Files(path=self._directory),
                destination=self._destination,
                cron="30 3 * * *",
                restore_test=RestoreTest(probes=(probe,)),
                stand_in=self._stand_in,
            )
        ]
