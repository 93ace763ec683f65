"""What can be unpacked on which Debian: one bundle for each tool."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from backup_orchestration.toolbox.systems import Suite, debian_suites, os_release

RESTIC_VERSION = "0.18.0"
_RESTIC_SUITE = "trixie"

# Depended on by Debian's packages, and not needed to run their programs: scripts in Perl that manage the system's
# clusters, their certificate and questions, and locales besides C.
_LEFT_OUT = ("postgresql-common", "postgresql-client-common", "ssl-cert", "locales", "sensible-utils")


@dataclass(frozen=True)
class Bundle:
    """Packages to unpack for one tool.

    Attributes:
        tool: its name; the bundle lies in `<tool>-<version>`.
        release: codename of the Debian they come from.
        package: the one that holds the tool and gives the version, with a version pattern as apt takes it.
        more: further packages. What they all depend on comes along where the system lacks it.
        left_out: packages that are depended on, and not unpacked.
        programs: directory whose programs are offered.
        dropped: patterns of paths that are removed: what needs a package that is left out.
    """

    tool: str
    release: str
    package: str
    programs: str
    more: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        """As apt takes them."""
        return (self.package, *self.more)

    def suites(self) -> list[Suite]:
        """Where they come from, by this machine's own apt sources.

        Raises:
            ToolInstallError: those name no mirror.
        """
        own = os_release().get("VERSION_CODENAME", "")
        suites = debian_suites(own)
        if own == self.release:
            return suites
        return [Suite(suite.uri, self.release) for suite in suites if suite.name == own][:1]


def _restic() -> Bundle:
    return Bundle("restic", _RESTIC_SUITE, f"restic={RESTIC_VERSION}*", "usr/bin")


def _postgres(release: str, major: str, llvm: str) -> Bundle:
    """PostgreSQL without its compiler of queries: LLVM is half of the download, and an optional module."""
    home = f"usr/lib/postgresql/{major}"
    return Bundle(
        "postgres",
        release,
        f"postgresql-{major}",
        f"{home}/bin",
        more=(f"postgresql-client-{major}",),
        left_out=(*_LEFT_OUT, llvm),
        dropped=(f"{home}/lib/llvmjit*", f"{home}/lib/bitcode"),
    )


def _pgbackrest(release: str) -> Bundle:
    return Bundle("pgbackrest", release, "pgbackrest", "usr/bin", left_out=_LEFT_OUT)


_BY_RELEASE = {
    "bookworm": (_restic(), _postgres("bookworm", "15", "libllvm14"), _pgbackrest("bookworm")),
    "trixie": (_restic(), _postgres("trixie", "17", "libllvm19"), _pgbackrest("trixie")),
}


def bundle_for(tool: str) -> Bundle | None:
    """What can be unpacked here for a tool; None on another system, or without apt-get and dpkg."""
    release = os_release()
    if release.get("ID") != "debian" or not all(shutil.which(name) for name in ("apt-get", "dpkg")):
        return None
    bundles = _BY_RELEASE.get(release.get("VERSION_CODENAME", ""), ())
    return next((bundle for bundle in bundles if bundle.tool == tool), None)
