"""Secrets that are found again wherever they leak to, and the search for them."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
import zlib
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_DEEPEST = 4


def spellings(secret: str) -> list[bytes]:
    """How a secret may stand in what somebody has written. (Base64 is decoded instead.)"""
    written = {
        secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[3:-3], repr(secret)[1:-1],
    }  # fmt: skip
    return sorted(text.encode() for text in written)


class Search:
    """Knows canaries by name; finds them in bytes, packed or encoded, in files and in databases."""

    def __init__(self, canaries: dict[str, str]) -> None:
        self.canaries = canaries
        self._written = [(name, text) for name, secret in canaries.items() for text in spellings(secret)]

    def in_bytes(self, content: bytes, depth: int = 0) -> set[str]:
        """Names of the canaries in it, however deep it is packed."""
        found = {name for name, text in self._written if text in content}
        if depth < _DEEPEST:
            for inner in _unpacked(content):
                found |= self.in_bytes(inner, depth + 1)
        return found

    def below(self, root: Path) -> set[tuple[str, str]]:
        """Place and canary: in every file below, its name, and every cell where it is an SQLite database."""
        found = set()
        for directory, _, names in os.walk(root):
            for name in names:
                path = Path(directory) / name
                with suppress(OSError):
                    found |= {(str(path), canary) for canary in self._in_file(path)}
        return found

    def _in_file(self, path: Path) -> set[str]:
        if not path.is_file() or path.is_symlink():
            return set()
        content = path.read_bytes()
        found = self.in_bytes(content) | self.in_bytes(os.fsencode(path.name))
        if content.startswith(b"SQLite format 3\0"):
            for cell in _cells(path):
                found |= self.in_bytes(cell)
        return found


def _unpacked(content: bytes):
    for match in _ZLIB.finditer(content):
        with suppress(zlib.error):
            unpacked = zlib.decompressobj().decompress(content[match.start() :], 64 << 20)
            if len(unpacked) > 8:
                yield unpacked
    for match in _BASE64.finditer(content):
        text = match.group().rstrip(b"=")
        for start in range(4):  # what stands before it may look like Base64 too
            part = text[start:]
            part = part[: len(part) // 4 * 4] if len(part) % 4 == 1 else part + b"=" * (-len(part) % 4)
            with suppress(ValueError):
                yield base64.b64decode(part.replace(b"-", b"+").replace(b"_", b"/"))


def _cells(path: Path):
    """Every cell, also of what still lies in the write-ahead log."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copy(f"{path}{suffix}", f"{folder}/copy{suffix}")
        with closing(sqlite3.connect(f"{folder}/copy")) as database:
            database.text_factory = bytes
            names = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            for (name,) in names:
                for row in database.execute(f'SELECT * FROM "{name.decode()}"'):
                    yield from (cell for cell in row if isinstance(cell, bytes))


class Watch(threading.Thread):
    """Looks at every process that descends from this one, again and again: its arguments and its environment.

    Beside it, at the modes of files and directories that hold secrets, while they are there.

    Attributes:
        seen: what each process was: `(kind, canary, arguments)`, kind `cmdline` or `environ`.
        programs: the arguments of all processes that were looked at.
        modes: of what lay in the private directories: `(name, mode)`.
    """

    def __init__(self, search: Search, private: Path, excepted: frozenset[int] = frozenset()) -> None:
        super().__init__(daemon=True)
        self.seen: set[tuple[str, str, str]] = set()
        self.programs: set[str] = set()
        self.modes: set[tuple[str, int]] = set()
        self._search = search
        self._private = private
        self._excepted = excepted
        self._known: set[tuple[int, str]] = set()
        self._over = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()

    def run(self):
        while not self._over.is_set():
            self._look()
            time.sleep(0.01)

    def _look(self):
        for pid in _descendants(os.getpid()) - self._excepted:
            with suppress(OSError):
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
                shown = arguments.replace(b"\0", b" ").decode(errors="replace").strip()
                if not arguments or (pid, shown) in self._known:
                    continue
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                self._known.add((pid, shown))
                self.programs.add(shown)
                self.seen |= {("cmdline", canary, shown) for canary in self._search.in_bytes(arguments)}
                self.seen |= {("environ", canary, shown) for canary in self._search.in_bytes(environment)}
        with suppress(OSError):
            for path in (self._private, *self._private.iterdir()):
                self.modes.add((path.name.partition("-")[0], stat.S_IMODE(path.lstat().st_mode)))


def _descendants(of: int) -> set[int]:
    found, waiting = set(), [of]
    while waiting:
        parent = waiting.pop()
        with suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with suppress(OSError):
                    children = {int(pid) for pid in Path(f"/proc/{parent}/task/{task}/children").read_text().split()}
                    waiting += children - found
                    found |= children
    return found
