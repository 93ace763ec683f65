"""A pinned restic from Debian 13, unpacked beside an older Debian that is left as it is.

apt does the work, with configuration, lists and cache of its own in a temporary directory: it knows
this machine's mirror, proxy and credentials, and verifies the release's signature.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import CommandFailedError, ToolInstallError, ToolMissingError

RESTIC_VERSION = "0.18.0"
_SUITE = "trixie"
_FIRST_RELEASE_WITH_RESTIC = {"debian": (13,), "ubuntu": (25, 4)}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_APT = Path("/etc/apt")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#]+)")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

# Hooks are for changes to the system, of which there are none; pins and the list of installed packages
# must not sway the choice; and a container with one user id has no `_apt` to switch to.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Default-Release "";
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


def can_unpack() -> bool:
    """Whether this is a Debian whose own restic is too old, with the tools to unpack a newer one."""
    release = _os_release()
    old = release.get("ID") == "debian" and not _has_restic(release)
    return old and all(shutil.which(tool) for tool in ("apt-get", "dpkg"))


def install_command(tool: str) -> str:
    """The command a person runs to install a tool on this system, or a sentence where it is not known."""
    if sys.platform == "darwin":
        return f"brew install {tool}"
    if tool == "restic" and can_unpack():
        return "homelab backup doctor --install"
    release = _os_release()
    family = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    if "debian" in family and (tool != "restic" or _has_restic(release)):
        return f"apt-get install {tool}"
    for name, command in (("alpine", "apk add"), ("fedora", "dnf install"), ("arch", "pacman -S")):
        if name in family:
            return f"{command} {tool}"
    return f"install {tool} with the system's package manager"


def unpack_restic(into: Path, log: Callable[[str], None]) -> Path:
    """Unpack the pinned restic to `into/restic-VERSION/restic`, whole or not at all.

    Raises:
        ToolInstallError: it cannot be had, with what apt said and what to do.
    """
    target = into / f"restic-{RESTIC_VERSION}" / "restic"
    if target.is_file():
        log(f"restic {RESTIC_VERSION} is unpacked already: {target}")
        return target
    if not can_unpack():
        raise ToolInstallError(
            f"restic cannot be unpacked here: not a Debian older than {_SUITE} with apt-get and dpkg",
            remedy=f"run: {install_command('restic')}",
        )
    try:
        with tempfile.TemporaryDirectory(prefix="homelab-restic-") as work:
            _place(_fetch(Path(work), log), target)
    except OSError as error:
        raise ToolInstallError(
            f"restic cannot be unpacked to {target}: {error}", remedy="make room there, and make it writable"
        ) from error
    log(f"unpacked restic {RESTIC_VERSION}: {target}")
    return target


def debian_mirror(apt: Path, codename: str) -> str:
    """The address from which this machine's own apt sources take `main` of its release.

    Raises:
        ToolInstallError: they name none.
    """
    stanzas = [line for path in _files(apt, "list") for line in _one_line_sources(path.read_text())]
    stanzas += [found for path in _files(apt, "sources") for found in _deb822_sources(path.read_text())]
    for uri, suites, components in stanzas:
        if codename in suites and "main" in components and not uri.startswith("cdrom:"):
            return uri
    raise ToolInstallError(
        f"no apt source under {apt} gives main of {codename}",
        remedy=f"add a Debian mirror with suite {codename} to the apt sources, or install restic yourself",
    )


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


def _fetch(work: Path, log: Callable[[str], None]) -> Path:
    """Download and unpack the package under `work`; return the binary in it."""
    mirror = debian_mirror(_APT, _os_release().get("VERSION_CODENAME", ""))
    if not _KEYRING.is_file():
        raise ToolInstallError(f"{_KEYRING} is missing", remedy="run: apt-get install debian-archive-keyring")
    for directory in ("state", "lists/partial", "cache/archives/partial", "package"):
        (work / directory).mkdir(parents=True)
    (work / "status").touch()
    (work / "apt.conf").write_text(_CONFIGURATION.format(work=work))
    # Only the list of packages: neither translations nor what desktop programs add.
    (work / "sources.list").write_text(f"deb [signed-by={_KEYRING} target=Packages] {mirror} {_SUITE} main\n")
    log(f"reading Debian {_SUITE}'s package list")
    _apt_get(work, "update")
    log(f"downloading restic {RESTIC_VERSION}")
    _apt_get(work, "download", f"restic={RESTIC_VERSION}*")
    packages = list(work.glob("restic_*.deb"))
    if not packages:
        raise ToolInstallError("apt-get downloaded no restic package", remedy="run it again")
    _run(["dpkg", "-x", str(packages[0]), str(work / "package")], work)
    return work / "package" / "usr" / "bin" / "restic"


def _apt_get(work: Path, *arguments: str) -> None:
    _run(["apt-get", "-q", "-c", str(work / "apt.conf"), *arguments], work)


def _run(argv: list[str], work: Path) -> None:
    proxies = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
    try:
        done = run(Command(argv=argv, timeout=600.0, env=proxies, cwd=work))
    except (CommandFailedError, ToolMissingError) as error:
        raise ToolInstallError(error.message, remedy="check the network, then run it again") from error
    if done.returncode != 0:
        raise _explained(done)


def _explained(done: Completed) -> ToolInstallError:
    """Say what failed, and tell the one failure with a remedy of its own from the rest."""
    if "NO_PUBKEY" in done.stderr:
        return ToolInstallError(
            f"{_KEYRING} lacks the key that signs Debian {_SUITE}",
            remedy="run: apt-get update && apt-get install debian-archive-keyring",
        )
    said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
    return ToolInstallError(
        f"{done.name} ended with exit code {done.returncode}: {said[0] if said else done.reason}",
        remedy="see that apt-get update works on this machine, then run it again",
    )


def _place(binary: Path, target: Path) -> None:
    """Copy under another name, then rename: two runs at once both leave a whole file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".restic-")
    os.close(handle)
    temporary = Path(name)
    try:
        shutil.copyfile(binary, temporary)
        temporary.chmod(0o755)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _has_restic(release: dict[str, str]) -> bool:
    """Whether the release's own restic is new enough; one without a number is newer than any with one."""
    first = _FIRST_RELEASE_WITH_RESTIC.get(release.get("ID", ""))
    number = tuple(int(part) for part in re.findall(r"\d+", release.get("VERSION_ID", "")))
    return first is not None and (not number or number >= first)


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
