"""The one rule by which tools are found.

`HOMELAB_TOOLS=DIR`: from there and nowhere else. Otherwise the first on `PATH`, unpacked by set-up, or where
a system's packages put it without naming it on `PATH`, that is new enough.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from backup_orchestration.core import commands
from backup_orchestration.core.errors import CommandFailedError, ToolMissingError

Version = tuple[int, ...]


@dataclass(frozen=True)
class Requirement:
    """What is needed of a tool.

    Attributes:
        name: of the binary.
        minimum: oldest version that is driven; empty: any.
        version_arguments: what makes it print its version.
        version_pattern: regular expression whose first group is the version in that output: numbers, dots or dashes.
        beside: programs that must lie in the same directory, links followed.
        places: patterns, below `/`, of directories that systems put it in and that are on no `PATH`.
    """

    name: str
    minimum: Version
    version_arguments: tuple[str, ...] = ("--version",)
    version_pattern: str = r"(\d+\.\d+(?:\.\d+)?)"
    beside: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A binary that was found, and its version."""

    name: str
    path: Path
    version: Version

    def __str__(self) -> str:
        return f"{self.name} {dotted(self.version)}"


def find(needed: Requirement, environment: Mapping[str, str] | None = None) -> Tool:
    """Find a tool by the one rule.

    Raises:
        ToolMissingError: none is there, or none is new enough; the message lists what was seen.
    """
    env = os.environ if environment is None else environment
    seen: list[str] = []
    for path in _candidates(needed, env):
        tool = _judged(path, needed)
        if isinstance(tool, Tool):
            return tool
        seen.append(tool)
    where = f"HOMELAB_TOOLS={env['HOMELAB_TOOLS']}" if env.get("HOMELAB_TOOLS") else "PATH and set-up"
    found = "; ".join(seen) or f"none in {where}"
    raise ToolMissingError(
        f"{needed.name}{f' {dotted(needed.minimum)} or newer' if needed.minimum else ''} is needed: {found}",
        remedy="run `homelab backup doctor` to see what installs it",
    )


def all_of(needed: Requirement, environment: Mapping[str, str] | None = None) -> Iterator[Tool]:
    """Every binary of a tool that the one rule allows, in its order."""
    env = os.environ if environment is None else environment
    for path in dict.fromkeys(_candidates(needed, env)):
        tool = _judged(path, needed)
        if isinstance(tool, Tool):
            yield tool


def unpack_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Where set-up unpacks tools for this user: `$XDG_DATA_HOME/homelab/tools`."""
    env = os.environ if environment is None else environment
    base = env.get("XDG_DATA_HOME") or str(Path(env.get("HOME") or Path.home()) / ".local" / "share")
    return Path(base) / "homelab" / "tools"


def dotted(version: Version) -> str:
    """`(0, 17, 1)` as `0.17.1`."""
    return ".".join(map(str, version))


def _candidates(needed: Requirement, env: Mapping[str, str]) -> Iterator[Path]:
    if only := env.get("HOMELAB_TOOLS"):
        directories: list[Path] = [Path(only)]
    else:
        directories = [Path(entry) for entry in env.get("PATH", os.defpath).split(os.pathsep) if entry]
        directories.append(Path(sys.executable).parent)  # what pip installed beside us, such as rclone
        directories += sorted(unpack_directory(env).glob(f"{needed.name}-*"), reverse=True)
        directories += [found for place in needed.places for found in sorted(Path("/").glob(place), reverse=True)]
    for directory in directories:
        path = (directory / needed.name).absolute()
        if _is_program(path):
            yield path


def _judged(path: Path, needed: Requirement) -> Tool | str:
    """The tool, or why it is passed over."""
    directory = path.resolve().parent
    if lacking := [name for name in needed.beside if not _is_program(directory / name)]:
        return f"{path} has no {', '.join(lacking)} beside it"
    version = _version(path, needed)
    if version is None:
        return f"{path} does not say its version"
    if version < needed.minimum:
        return f"{path} is {dotted(version)}"
    return Tool(needed.name, path, version)


def _is_program(path: Path) -> bool:
    # In this order: of what lies in a directory that we may not enter, only `access` says no instead of raising.
    return os.access(path, os.X_OK) and path.is_file()


def _version(path: Path, needed: Requirement) -> Version | None:
    try:
        status = path.stat()
        file = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return _asked(path, needed, file)
    except (OSError, LookupError, CommandFailedError, ToolMissingError):
        return None


@lru_cache(maxsize=64)
def _asked(path: Path, needed: Requirement, _file: tuple[int, ...]) -> Version:
    """What a binary says, asked once in a process for the file as it is now.

    Raises:
        LookupError: it says none; not remembered.
    """
    done = commands.run(commands.Command((str(path), *needed.version_arguments), timeout=20))
    match = re.search(needed.version_pattern, done.stdout or done.stderr)
    if match is None or done.returncode != 0:
        raise LookupError(path)
    return tuple(map(int, re.split(r"[.-]", match.group(1))))
