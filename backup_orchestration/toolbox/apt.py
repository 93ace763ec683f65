"""Downloads packages and unpacks them beside a system that is left as it is.

apt does the work, with configuration, lists and cache of its own: it knows this machine's proxy and credentials,
verifies the release's signature, and finds out what the system lacks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import CommandFailedError, ToolInstallError, ToolMissingError
from backup_orchestration.toolbox.systems import Suite

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_STATUS = Path("/var/lib/dpkg/status")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

# Hooks are for changes to the system, of which there are none; pins must not sway the choice; and a container
# with one user id has no `_apt` to switch to.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
APT::Default-Release "";
APT::Install-Recommends "0";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Retries "3";
Dir::State "{work}/state";
Dir::State::Lists "{work}/lists";
Dir::State::status "{work}/status";
Dir::Cache "{work}/cache";
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""

# apt takes what is left out for installed, and newer than anybody asks for.
_PRETENDED = """\
Package: {name}
Status: install ok installed
Maintainer: nobody
Architecture: all
Multi-Arch: foreign
Version: 999:1
Description: left out
"""
_KEPT_FIELDS = tuple(f"{name}: " for name in ("Package", "Status", "Architecture", "Multi-Arch", "Version", "Provides"))


class Apt:
    """apt, looking at a few suites, in a directory of its own."""

    def __init__(self, work: Path, suites: Sequence[Suite]) -> None:
        self._work = work
        self._suites = suites

    def update(self) -> None:
        """Read the lists of packages.

        Raises:
            ToolInstallError: they cannot be had, or their signature is not right.
        """
        if not _KEYRING.is_file():
            raise ToolInstallError(f"{_KEYRING} is missing", remedy="run: apt-get install debian-archive-keyring")
        for directory in ("state", "lists/partial"):
            (self._work / directory).mkdir(parents=True)
        (self._work / "apt.conf").write_text(_CONFIGURATION.format(work=self._work))
        # Only the lists of packages: neither translations nor what desktop programs add.
        lines = [
            f"deb [signed-by={_KEYRING} target=Packages] {suite.uri} {suite.name} main\n" for suite in self._suites
        ]
        (self._work / "sources.list").write_text("".join(lines))
        (self._work / "status").touch()
        self._apt_get("update")

    def download(self, packages: Sequence[str], left_out: Iterable[str] = ()) -> list[Path]:
        """Download packages, also installed ones, and what they depend on where the system lacks it.

        Args:
            packages: names, each with `=VERSION` or not.
            left_out: taken for installed.

        Returns:
            The files, in no order; those of earlier calls are gone.

        Raises:
            ToolInstallError: one cannot be had.
        """
        names = {package.partition("=")[0] for package in packages}
        status = _STATUS.read_text(encoding="utf-8", errors="replace")
        (self._work / "status").write_text(_pretending(status, names, set(left_out)), encoding="utf-8")
        archives = self._work / "cache" / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        for earlier in archives.glob("*.deb"):
            earlier.unlink()
        self._apt_get("install", "--yes", "--download-only", *packages)
        files = list(archives.glob("*.deb"))
        for name in names - {path.name.partition("_")[0] for path in files}:
            raise ToolInstallError(f"apt-get downloaded no package {name}", remedy="run it again")
        return files

    def unpack(self, package: Path, into: Path) -> None:
        """Put the files of a package below a directory; run none of its scripts.

        Raises:
            ToolInstallError: dpkg fails.
        """
        self._run(["dpkg", "-x", str(package), str(into)])

    def _apt_get(self, *arguments: str) -> None:
        self._run(["apt-get", "-q", "-c", str(self._work / "apt.conf"), *arguments])

    def _run(self, argv: list[str]) -> None:
        proxies = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
        try:
            done = run(Command(argv=argv, timeout=600.0, env=proxies, cwd=self._work))
        except (CommandFailedError, ToolMissingError) as error:
            raise ToolInstallError(error.message, remedy="check the network, then run it again") from error
        if done.returncode != 0:
            raise self._explained(done)

    def _explained(self, done: Completed) -> ToolInstallError:
        """Say what failed, and tell the one failure with a remedy of its own from the rest."""
        if "NO_PUBKEY" in done.stderr:
            return ToolInstallError(
                f"{_KEYRING} lacks the key that signs Debian {self._suites[0].name}",
                remedy="run: apt-get update && apt-get install debian-archive-keyring",
            )
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        return ToolInstallError(
            f"{done.name} ended with exit code {done.returncode}: {said[0] if said else done.reason}",
            remedy="see that apt-get update works on this machine, then run it again",
        )


def _pretending(status: str, absent: set[str], present: set[str]) -> str:
    """dpkg's list of installed packages, without some and with others.

    What those depend on is left away: apt is asked what the system lacks, not whether it is consistent without them.
    """
    kept: dict[str, str] = {name: _PRETENDED.format(name=name) for name in present}
    for stanza in re.split(r"\n\n+", status):
        # A line that starts with a blank continues the field before it; none of the fields that are kept has one.
        lines = [line for line in stanza.splitlines() if line.startswith(_KEPT_FIELDS)]
        fields = dict(line.split(": ", 1) for line in lines)
        name = fields.get("Package", "")
        if name and name not in absent and fields.get("Status", "").endswith(" installed"):
            kept[f"{name}:{fields.get('Architecture')}"] = "\n".join(lines) + "\n"
            kept.pop(name, None)
    return "\n".join(kept.values())
