"""Which system this is, where its packages come from, and what installs a tool on it."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.core.errors import ToolInstallError

_APT = Path("/etc/apt")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#]+)")
_FIRST_RELEASE_WITH_RESTIC = {"debian": (13,), "ubuntu": (25, 4)}
# In Debian and elsewhere, the package of this name is Midnight Commander.
_BY_HAND = {
    "mc": "go install github.com/minio/mc@latest, and put it on PATH before any other mc; restores do without it",
}
# By tool and family, where the package is not called as the tool is.
_PACKAGES = {
    "postgres": {"": "postgresql", "fedora": "postgresql-server postgresql-contrib"},
}


@dataclass(frozen=True)
class Suite:
    """One suite of one archive, e.g. `bookworm-security`."""

    uri: str
    name: str


def os_release() -> dict[str, str]:
    """What the system says it is; nothing where it does not say."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def package_command(tool: str) -> str:
    """The command that installs a tool as a package of this system, or a sentence where it is not known."""
    if by_hand := _BY_HAND.get(tool):
        return by_hand
    if sys.platform == "darwin":
        return f"brew install {_package(tool)}"
    release = os_release()
    family = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    if "debian" in family and (tool != "restic" or _has_restic(release)):
        return f"apt-get install {_package(tool)}"
    for name, command in (("alpine", "apk add"), ("fedora", "dnf install"), ("arch", "pacman -S")):
        if name in family:
            return f"{command} {_package(tool, name)}"
    return f"install {_package(tool)} with the system's package manager"


def debian_suites(codename: str, apt: Path | None = None) -> list[Suite]:
    """The suites of a release that this machine's own apt sources take `main` of: itself, its security and updates.

    Raises:
        ToolInstallError: they do not name the release itself.
    """
    directory = apt or _APT
    wanted = {codename, f"{codename}-security", f"{codename}-updates"}
    stanzas = [line for path in _files(directory, "list") for line in _one_line_sources(path.read_text())]
    stanzas += [found for path in _files(directory, "sources") for found in _deb822_sources(path.read_text())]
    found = [
        Suite(uri, suite)
        for uri, suites, components in stanzas
        for suite in suites
        if suite in wanted and "main" in components and not uri.startswith("cdrom:")
    ]
    if not codename or codename not in [suite.name for suite in found]:
        raise ToolInstallError(
            f"no apt source under {directory} gives main of {codename}",
            remedy=f"add a Debian mirror with suite {codename} to the apt sources, or install the tools yourself",
        )
    return list(dict.fromkeys(found))


def _package(tool: str, family: str = "") -> str:
    names = _PACKAGES.get(tool, {})
    return names.get(family) or names.get("", tool)


def _has_restic(release: dict[str, str]) -> bool:
    """Whether the release's own restic is new enough; one without a number is newer than any with one."""
    first = _FIRST_RELEASE_WITH_RESTIC.get(release.get("ID", ""))
    number = tuple(int(part) for part in re.findall(r"\d+", release.get("VERSION_ID", "")))
    return first is not None and (not number or number >= first)


_Source = tuple[str, list[str], list[str]]


def _one_line_sources(text: str) -> Iterator[_Source]:
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.strip()):
            yield match["uri"], [match["suite"].rstrip("/")], match["components"].split()


def _deb822_sources(text: str) -> Iterator[_Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        # A line that starts with a blank continues the field before it.
        joined = re.sub(r"\n[ \t]+", " ", stanza)
        pairs = (line.partition(":") for line in joined.splitlines())
        fields = {name.strip().lower(): value.split() for name, _, value in pairs}
        if "deb" in fields.get("types", []) and fields.get("enabled") != ["no"]:
            for uri in fields.get("uris", []):
                yield uri, fields.get("suites", []), fields.get("components", [])


def _files(apt: Path, kind: str) -> list[Path]:
    main = [apt / "sources.list"] if kind == "list" else []
    return [path for path in (*main, *sorted(apt.glob(f"sources.list.d/*.{kind}"))) if path.is_file()]
