"""`homelab backup doctor`: what is missing, and the command that installs it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration.cli.show import complain, say
from backup_orchestration.core import settings, tools
from backup_orchestration.core.errors import HomelabError, StoreError, ToolMissingError
from backup_orchestration.core.places import Bucket, Directory
from backup_orchestration.core.tools import Requirement
from backup_orchestration.devlab.needs import TOOLS
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.providers.restic import Restic
from backup_orchestration.stores.open import open_store
from backup_orchestration.toolbox.install import install_command, install_missing


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `remedy` is empty where all is well."""

    what: str
    found: str
    remedy: str = ""


def examine(*, install: bool, devlab: bool) -> int:
    """Look at this machine and the settings; returns 1 if something is missing, 2 if the settings are refused.

    Args:
        install: first unpack what is missing and can be unpacked.
        devlab: look at what the example lab and the tests need, and at no settings.
    """
    findings = [Finding("python", platform.python_version())]
    code = 0
    homelab = None
    try:
        homelab = None if devlab else _settings()
    except HomelabError as error:
        findings.append(Finding("settings", error.message, error.remedy or "correct them"))
        code = error.exit_code
    needed = TOOLS if devlab else homelab.tools() if homelab else Restic.tools
    if install:
        install_missing(needed, complain)
    findings += [_tool(item) for item in needed]
    if homelab is not None:
        findings += _places(homelab)
    elif not code and not devlab:
        findings.append(Finding("settings", "none here; `homelab init` writes some"))
    for item in findings:
        say(f"{'MISSING' if item.remedy else 'ok':<8} {item.what}: {item.found}")
        if item.remedy:
            say(f"         {item.remedy}")
    return code or int(any(item.remedy for item in findings))


def _settings() -> Homelab | None:
    """The installation, or None where there are no settings, which is no fault of a machine."""
    here = [Path.cwd() / settings.FILENAME, Path.cwd() / settings.DEVLAB_SETTINGS]
    if not os.environ.get(settings.VARIABLE) and not any(path.is_file() for path in here):
        return None
    return load()


def _tool(needed: Requirement) -> Finding:
    try:
        tool = tools.find(needed)
    except ToolMissingError as error:
        alone = os.environ.get("HOMELAB_TOOLS")
        remedy = f"put it into {alone}, or unset HOMELAB_TOOLS" if alone else install_command(needed.name)
        return Finding(needed.name, error.message, remedy)
    return Finding(needed.name, f"{tools.dotted(tool.version)} at {tool.path}")


def _places(homelab: Homelab) -> Iterator[Finding]:
    yield Finding("settings", f"{homelab.path}, {len(homelab.policies)} policies")
    places = {f"destinations.{name}": item.place for name, item in homelab.destinations.items()}
    for what, place in {**places, "evidence": homelab.evidence_place, "home": Directory(homelab.home)}.items():
        if not isinstance(place, Directory):
            yield _bucket(homelab, what, place)
            continue
        path = place.path
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        if not os.access(there, os.W_OK):
            yield Finding(what, f"{there} cannot be written", "change its owner, or run as the user who may")
        else:
            free = shutil.disk_usage(there).free
            yield Finding(
                what, f"{path}, {free / 2**30:.1f} GiB free" + ("" if path.exists() else ", made when needed")
            )
    for name in homelab.settings.notifications:
        yield Finding(f"notifications.{name}", "alerts are posted to it while `run --schedule` runs")


def _bucket(homelab: Homelab, what: str, place: Bucket) -> Finding:
    try:
        open_store(place, homelab.secrets).names("")
    except StoreError as error:
        return Finding(what, error.message, error.remedy)
    return Finding(what, f"{place} answers")
