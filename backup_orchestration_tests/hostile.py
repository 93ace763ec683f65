"""What a hostile source, or whoever can write a repository, puts into a lab; and how harm outside of it is seen."""

from __future__ import annotations

import faulthandler
import gzip
import hashlib
import sqlite3
import sys
import tarfile
from contextlib import closing, contextmanager
from pathlib import Path

HEADING = "Untrusted data"
# Longer than anything here takes; what waits for a pipe would wait for ever.
SECONDS = 300


class Outside:
    """A directory that no lab may touch, read into a message, or run a program of."""

    SECRET = "outside-0123456789"

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o755)
        self.file = root / "file"
        self.file.write_text(f"{self.SECRET}\n")
        self.database = root / "outside.db"
        with closing(sqlite3.connect(self.database)) as database:
            database.execute(f"CREATE TABLE users AS SELECT '{self.SECRET}' AS name")
            database.commit()
        self.directory = root / "directory"
        self.directory.mkdir()
        (self.directory / "inner").write_text(self.SECRET)
        self.program = root / "program"
        self.program.write_text(f"#!/bin/sh\necho \"$0 $*\" >>'{root}/EXECUTED'\n")
        self.program.chmod(0o755)
        self.before = self.state()

    def state(self):
        """Everything that can be seen of it, but when it was read."""
        found = {}
        for path in sorted([self.root, *self.root.rglob("*")]):
            status = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
        return found

    def assert_untouched(self, *said: str) -> None:
        assert self.state() == self.before
        assert not [text for text in said if self.SECRET in text]


def assert_printable(*said: str) -> None:
    """Nothing that a terminal obeys."""
    for text in said:
        assert not [char for char in text if not char.isprintable() and char != "\n"], ascii(text)


@contextmanager
def alarmed():
    """What hangs ends this process with a traceback, instead of all tests without one."""
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def peak_growth(action) -> int:
    """Bytes by which the memory of this process grew at most while something ran."""
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak counts from now on
    before = _status("VmRSS")
    action()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def zeros(gigabytes: int, block: int = 64 << 20) -> bytes:
    """A gzip file of so many gigabytes of nothing: members of a gzip file may follow each other."""
    return gzip.compress(bytes(block), 9) * (gigabytes * (1 << 30) // block)


def bomb(name: str, gigabytes: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """An archive of a few megabytes whose one member unpacks to gigabytes."""
    member = tarfile.TarInfo(name)
    member.size, member.type = gigabytes << 30, kind
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT)) + zeros(gigabytes) + gzip.compress(bytes(1024))


def many_members(count: int) -> bytes:
    """An archive of empty files."""
    header = tarfile.TarInfo("indexes/films/nothing").tobuf()
    block = gzip.compress(header * 1000, 1)
    return block * (count // 1000) + gzip.compress(bytes(1024))


def naming_another(journal: Path, victim: Path, page_size: int = 4096) -> None:
    """A rollback journal that SQLite plays back, and then removes the file it names (pager.c, `pager_delsuper`)."""
    name = str(victim).encode()
    header = bytes.fromhex("d9d505f920a163d7") + b"\0\0\0\0" + b"\0\0\0\1" + b"\0\0\0\5" + b"\0\0\2\0"
    header += page_size.to_bytes(4, "big")
    record = (0x40000000 // page_size + 1).to_bytes(4, "big") + name + len(name).to_bytes(4, "big")
    record += (sum(name) & 0xFFFFFFFF).to_bytes(4, "big") + bytes.fromhex("d9d505f920a163d7")
    journal.write_bytes(header.ljust(512, b"\0") + record)
