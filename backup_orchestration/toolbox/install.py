"""Unpacks what a system lacks: whole or not at all, one set-up at a time.

Each tool gets a directory of its own, `<tool>-<version>`: below it `root`, with the files of its packages and of the
libraries that the system lacks, and beside that a program for each of the tool's, which finds those libraries.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.errors import StateError, ToolInstallError, ToolMissingError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.tools import Requirement
from backup_orchestration.toolbox.apt import Apt
from backup_orchestration.toolbox.bundles import Bundle, bundle_for
from backup_orchestration.toolbox.systems import Suite, package_command

Log = Callable[[str], None]

_WAIT_SECONDS = 1800.0
_UNFINISHED = ".unpacking-"
_UPSTREAM_VERSION = re.compile(r"_(?:\d+%3a)?(\d+(?:\.\d+)+)")
# What the program starts gets the variable as well, and must: `pg_ctl` starts the real `postgres`. To anything else
# that a server starts it does no harm: the libraries are ones that this system lacks, made for this release of it.
_WRAPPER = """\
#!/bin/sh
LD_LIBRARY_PATH={libraries}"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" exec {program} "$@"
"""


def install_command(tool: str) -> str:
    """The command a person runs to have a tool on this system, or a sentence where it is not known."""
    return "homelab backup doctor --install" if bundle_for(tool) else package_command(tool)


def install_missing(needed: Iterable[Requirement], log: Log) -> None:
    """Unpack what is needed, not there, and can be unpacked here.

    Nothing where `HOMELAB_TOOLS` is set: tools are then found there and nowhere else.

    Raises:
        ToolInstallError: one cannot be had; says what apt said and what to do.
    """
    missing = [item for item in needed if bundle_for(item.name) and not _is_there(item)]
    if not missing or os.environ.get("HOMELAB_TOOLS"):
        return
    into = tools.unpack_directory()
    try:
        with repository_lock(into, "set-up", timeout=_WAIT_SECONDS, on_wait=lambda: log("waiting for another set-up")):
            unpack([item for item in missing if not _is_there(item)], into, log)
    except (OSError, StateError) as error:
        raise ToolInstallError(
            f"tools cannot be unpacked to {into}: {error}", remedy="make room there, and make it writable"
        ) from error


def unpack(needed: Iterable[Requirement], into: Path, log: Log) -> None:
    """Unpack tools, whatever the system has, in place of what is there; nobody else may be at it.

    Args:
        needed: each with a bundle for this system.
        into: an existing directory.
        log: told what is done.

    Raises:
        ToolInstallError: as `install_missing`.
    """
    for leftover in into.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=into) as work:
        _unpack_all(needed, Path(work), into, log)


def _is_there(item: Requirement) -> bool:
    try:
        tools.find(item)
    except ToolMissingError:
        return False
    return True


def _unpack_all(needed: Iterable[Requirement], work: Path, into: Path, log: Log) -> None:
    archives: dict[tuple[Suite, ...], Apt] = {}
    for item in needed:
        bundle = bundle_for(item.name)
        assert bundle  # noqa: S101 - the caller's promise
        suites = tuple(bundle.suites())
        if suites not in archives:
            log(f"reading the package list of Debian {bundle.release}")
            archives[suites] = Apt(work / f"apt{len(archives)}", suites)
            archives[suites].update()
        log(f"downloading {item.name} of Debian {bundle.release}; the system is left as it is")
        path = _unpack(bundle, item, archives[suites], work / item.name, into)
        log(f"unpacked {path}")


def _unpack(bundle: Bundle, needed: Requirement, apt: Apt, building: Path, into: Path) -> Path:
    """Build the tool's directory, see that the tool starts, and only then put it in its place."""
    root = building / "root"
    root.mkdir(parents=True)
    packages = apt.download(bundle.packages, bundle.left_out)
    for package in packages:
        apt.unpack(package, root)
    for pattern in bundle.dropped:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _require_start(root, bundle, needed)
    place = into / f"{bundle.tool}-{_version(bundle, packages)}"
    for program in sorted((root / bundle.programs).iterdir()):
        _offer(building / program.name, program.relative_to(building), place, _libraries(root))
    if place.exists():
        shutil.rmtree(place)
    building.rename(place)
    return place / bundle.tool


def _require_start(root: Path, bundle: Bundle, needed: Requirement) -> None:
    program = root / bundle.programs / bundle.tool
    env = {"LD_LIBRARY_PATH": os.pathsep.join(str(root / path) for path in _libraries(root))}
    try:
        done = run(Command([str(program), *needed.version_arguments], timeout=20.0, env=env))
    except ToolMissingError as error:
        raise ToolInstallError(error.message, remedy=f"run: {package_command(bundle.tool)}") from error
    if done.returncode != 0:
        raise ToolInstallError(
            f"{bundle.tool} was unpacked and does not start: {done.reason}",
            remedy=f"run: {package_command(bundle.tool)}",
        )


def _version(bundle: Bundle, packages: list[Path]) -> str:
    """Upstream's version, from the name of the file: `postgresql-15_15.18-0+deb12u1_amd64.deb`."""
    name = bundle.package.partition("=")[0]
    (file,) = (path.name for path in packages if path.name.startswith(f"{name}_"))
    match = _UPSTREAM_VERSION.search(file)
    return match[1] if match else "unknown"


def _libraries(root: Path) -> list[Path]:
    """Directories of shared libraries, relative to the root."""
    patterns = ("lib/*-linux-*/*.so.*", "usr/lib/*-linux-*/*.so.*")
    return sorted({path.parent.relative_to(root) for pattern in patterns for path in root.glob(pattern)})


def _offer(path: Path, program: Path, place: Path, libraries: list[Path]) -> None:
    """A program in the tool's directory that runs the real one.

    Args:
        path: of the new program.
        program: the real one, relative to the tool's directory.
        place: where that directory will be.
        libraries: directories that the program finds its libraries in, relative to the root.
    """
    if not libraries:
        path.symlink_to(program)
        return
    directories = os.pathsep.join(str(place / "root" / directory) for directory in libraries)
    path.write_text(
        _WRAPPER.format(libraries=shlex.quote(directories), program=shlex.quote(str(place / program))),
        encoding="utf-8",
    )
    path.chmod(0o755)
