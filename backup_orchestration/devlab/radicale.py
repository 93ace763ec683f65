"""The lab's Radicale: the real one, with a calendar that is written all the while."""

from __future__ import annotations

import base64
import json
import secrets
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from backup_orchestration.contributors.radicale import COLLECTIONS, CONFIG, USERS
from backup_orchestration.core.commands import Command
from backup_orchestration.core.errors import ToolMissingError
from backup_orchestration.core.private_files import private_directory, write_atomically

USER = "lab"
CALENDAR = f"{USER}/calendar"
EVENT = f"{CALENDAR}/opening.ics"
SUMMARY = "SUMMARY:Opening of the lab"
_EVENTS = 500
_SECONDS = 10.0

_CONFIG = """\
[auth]
type = htpasswd
htpasswd_filename = {users}
htpasswd_encryption = plain

[storage]
filesystem_folder = {collections}
"""

_ITEM = """\
BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//homelab//example lab//EN\r
BEGIN:VEVENT\r
UID:{uid}\r
DTSTAMP:{stamp}\r
DTSTART:{stamp}\r
DURATION:PT1H\r
{summary}\r
END:VEVENT\r
END:VCALENDAR\r
"""


def seed(directory: Path) -> None:
    """Write configuration, one user with a random password, and a calendar with an event, as Radicale stores them."""
    collections = private_directory(directory / COLLECTIONS)
    text = _CONFIG.format(users=directory / USERS, collections=collections)
    write_atomically(directory / CONFIG, text.encode())
    write_atomically(directory / USERS, f"{USER}:{secrets.token_hex(16)}\n".encode())
    calendar = collections / "collection-root" / CALENDAR
    calendar.mkdir(parents=True)
    properties = {"tag": "VCALENDAR", "D:displayname": "The lab"}
    write_atomically(calendar / ".Radicale.props", json.dumps(properties).encode())
    write_atomically(calendar / Path(EVENT).name, _item("opening", SUMMARY))


def command(directory: Path, port: int) -> Command:
    """The program that serves the directory.

    Raises:
        ToolMissingError: Radicale is not installed.
    """
    if find_spec("radicale") is None:
        raise ToolMissingError("Radicale is not installed", remedy="install the extra `devlab`, as `make setup` does")
    argv = [sys.executable, "-P", "-m", "radicale", "--config", str(directory / CONFIG)]
    return Command([*argv, "--server-hosts", f"127.0.0.1:{port}", "--logging-level", "warning"], 0)


class Writer:
    """Adds events over CalDAV; after some hundred it writes the first ones anew.

    Args:
        directory: as it was seeded.
        url: where Radicale answers.
    """

    def __init__(self, directory: Path, url: str) -> None:
        login = (directory / USERS).read_text(encoding="utf-8").strip()
        self._authorization = f"Basic {base64.b64encode(login.encode()).decode()}"
        self._url = url
        self._number = 0

    def add(self) -> None:
        """Add one event.

        Raises:
            OSError: Radicale does not answer, or refuses it.
        """
        name = f"event-{self._number % _EVENTS}"
        headers = {"Authorization": self._authorization, "Content-Type": "text/calendar; charset=utf-8"}
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self._url}/{CALENDAR}/{name}.ics", _item(name, f"SUMMARY:Number {self._number}"), headers, method="PUT"
        )
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310 - loopback
            self._number += 1


def _item(uid: str, summary: str) -> bytes:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return _ITEM.format(uid=uid, stamp=stamp, summary=summary).encode()
