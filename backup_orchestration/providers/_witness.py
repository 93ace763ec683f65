"""A read-only window on a restic repository that reads every file it hands out whole, and checks it.

A restore alone proves less than it seems: from a warm cache a damaged tree pack restores with exit code 0, and
a damaged pack header is never looked at. restic names its files by the SHA-256 of their content. So a restore
test restores through this server, which speaks restic's REST protocol on a private Unix socket: on the first
touch of a file it reads it whole, past the page cache where the system allows, and holds it against its name.
What the restore touched is what belongs to the snapshot; nothing but lock files can be written.

What is wrong with a file is held against the data only while the store is there: its configuration is looked at
again before a file counts as missing or unreadable. A store that fails ends the restore, and is remembered as such.

Names of files: restic's doc/design.rst, "Repository Layout".
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from threading import Lock, Thread
from typing import BinaryIO

from backup_orchestration.core.errors import HomelabError, StoreError
from backup_orchestration.core.objects import Objects
from backup_orchestration.providers._witness_server import Server, stored_as
from backup_orchestration.providers.capture import naming_a_full_disk

_CHUNK = 1 << 20
_KEPT_FILES = 64  # packs have about 16 MiB


class Witness:
    """What was handed out.

    Attributes:
        url: what restic opens as its repository.
        damaged: files that do not match their name or are missing, as `data/<id>`.
        missing: those of them that are not there at all.
        bytes_read: size of all files read and checked.
        fault: why the store could not be read or take a lock, or what is kept of it could not be written here. That is
            never the data's fault; nothing is handed out after it.
    """

    def __init__(self, store: Objects, scratch: Path, socket: str, called: str) -> None:
        self.url = f"rest:http+unix://{socket}:/"
        self.damaged: list[str] = []
        self.missing: list[str] = []
        self.fault: HomelabError | None = None
        self.bytes_read = 0
        self.store = store
        self._called = called
        self._scratch = scratch
        self._turns: dict[str, Lock] = {}
        self._judged: set[str] = set()
        self._configuration = self._read_configuration()
        self._kept: deque[Path] = deque()
        self._lock = Lock()

    @contextmanager
    def content(self, name: str) -> Iterator[BinaryIO]:
        """A file of the repository; the first time it is read whole and held against its name.

        Raises:
            KeyError: it is not there, or cannot be read though the store is there.
            StoreError: the store fails.
        """
        if name == "config" or name.startswith("locks/"):
            # The configuration is authenticated by restic itself; locks are part of no snapshot.
            with self.store.open(stored_as(name)) as file:
                yield file
            return
        with self._lock:
            turn = self._turns.setdefault(name, Lock())
        with turn:  # one request reads a file whole, the others wait for it
            file = self._opened(name, first=name not in self._judged)
        with file:
            yield file

    def _opened(self, name: str, *, first: bool) -> BinaryIO:
        kept = self._scratch / name.replace("/", "-")
        if kept.exists():
            return kept.open("rb")
        try:
            with self.store.open(stored_as(name)) as file:
                if isinstance(file, BufferedReader):
                    if first:
                        _past_the_cache(file)
                        self._judge(name, file)
                    return Path(file.name).open("rb")
                # From a bucket: what was fetched is kept for the requests that follow.
                self._keep(kept, file)
        except KeyError:
            self._blame(name)
            self.missing.append(name)
            raise
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._blame(name)  # a bad sector
            raise KeyError(name) from None
        opened = kept.open("rb")
        if first:
            self._judge(name, opened)
        return opened

    def _judge(self, name: str, file: BinaryIO) -> None:
        size, matches = _read_whole(file, name.rpartition("/")[2])
        self._note(name, size, matches=matches)

    def _blame(self, name: str) -> None:
        """A file could not be had: that is damage if the store is there, and the same.

        Raises:
            StoreError: it is not.
        """
        if self._configuration is None or self._read_configuration() != self._configuration:
            raise StoreError(f"{self._called} went away while it was read", remedy="see whether its store is there")
        self._note(name, 0, matches=False)

    def _read_configuration(self) -> bytes | None:
        try:
            with self.store.open("config") as file:
                if isinstance(file, BufferedReader):
                    _past_the_cache(file)
                return file.read()
        except (KeyError, OSError):
            return None

    def _note(self, name: str, size: int, *, matches: bool) -> None:
        with self._lock:
            if name in self._judged:
                return
            self._judged.add(name)
            self.bytes_read += size
            if not matches:
                self.damaged.append(name)

    def give_up(self, error: Exception) -> None:
        """Remember why the store cannot be read."""
        with self._lock:
            if self.fault is None:
                if not isinstance(error, HomelabError):
                    error = StoreError(f"{self._called} cannot be read: {error}")
                self.fault = error

    def _keep(self, path: Path, file: BinaryIO) -> None:
        part = path.with_name(f"{path.name}-part")
        with naming_a_full_disk(self._scratch), part.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        part.replace(path)
        with self._lock:
            self._kept.append(path)
            old = self._kept.popleft() if len(self._kept) > _KEPT_FILES else None
        if old is not None:
            old.unlink(missing_ok=True)


@contextmanager
def witness(store: Objects, place: Path | None = None, called: str = "the repository") -> Iterator[Witness]:
    """Serve a repository for the block.

    Args:
        store: the repository's directory or prefix.
        place: directory for its socket and for what is kept of a bucket; default: the system's temporary directory.
        called: the repository's name in messages.
    """
    scratch = Path(tempfile.mkdtemp(prefix="witness-", dir=place))
    handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # Paths of sockets must be short, that of a lab may not be.
    socket = f"/proc/{os.getpid()}/fd/{handle}/s"
    seen = Witness(store, scratch, socket, called)
    try:
        with Server(socket, seen) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            try:
                yield seen
            finally:
                server.shutdown()
                thread.join()
    finally:
        os.close(handle)
        shutil.rmtree(scratch, ignore_errors=True)


def _read_whole(file: BinaryIO, identity: str) -> tuple[int, bool]:
    """Size of a file, and whether its SHA-256 is its name."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest() == identity


def _past_the_cache(file: BufferedReader) -> None:
    """Have the file read from the disk, where the system allows: the page cache proves nothing."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
