"""A read-only window on a restic repository that reads every file it hands out whole, and checks it.

A restore alone proves less than it seems: from a warm cache a damaged tree pack restores with exit code 0, and
a damaged pack header is never looked at. restic names its files by the SHA-256 of their content. So a restore
test restores through this server, which speaks restic's REST protocol on a private Unix socket: on the first
touch of a file it reads it whole, past the page cache where the system allows, and holds it against its name.
What the restore touched is what belongs to the snapshot; nothing but lock files can be written.

Protocol: restic's doc/REST_backend.rst, API version 2. Names of files: doc/design.rst, "Repository Layout".
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socketserver
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedReader
from pathlib import Path
from threading import Lock, Thread
from typing import BinaryIO

from backup_orchestration.core.errors import HomelabError, SpaceError, StoreError
from backup_orchestration.core.objects import Objects
from backup_orchestration.providers.capture import naming_a_full_disk

_TYPES = ("data", "index", "keys", "locks", "snapshots")
_NAME = re.compile(r"/(config|(?:data|index|keys|locks|snapshots)/(?:[0-9a-f]{64})?)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CHUNK = 1 << 20
_KEPT_FILES = 64  # packs have about 16 MiB


class Witness:
    """What was handed out.

    Attributes:
        url: what restic opens as its repository.
        damaged: files that do not match their name or are missing, as `data/<id>`.
        bytes_read: size of all files read and checked.
        refused: why something could not be written: a lock into the store, or here what is kept of a bucket. That is
            never the data's fault.
    """

    def __init__(self, store: Objects, scratch: Path, socket: str) -> None:
        self.url = f"rest:http+unix://{socket}:/"
        self.damaged: list[str] = []
        self.bytes_read = 0
        self.refused: HomelabError | None = None
        self.store = store
        self._scratch = scratch
        self._turns: dict[str, Lock] = {}
        self._judged: set[str] = set()
        self._kept: deque[Path] = deque()
        self._lock = Lock()

    @contextmanager
    def content(self, name: str) -> Iterator[BinaryIO]:
        """A file of the repository; the first time it is read whole and held against its name.

        Raises:
            KeyError: it is not there.
        """
        if name == "config" or name.startswith("locks/"):
            # The configuration is authenticated by restic itself; locks are part of no snapshot.
            with self.store.open(stored_as(name)) as file:
                yield file
            return
        with self._lock:
            turn = self._turns.setdefault(name, Lock())
        with turn:  # one request reads a file whole, the others wait for it
            first = name not in self._judged
            self._judged.add(name)
            file = self._opened(name, first=first)
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
                part = kept.with_name(f"{kept.name}-part")
                with naming_a_full_disk(self._scratch), part.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                part.replace(kept)
                self._keep(kept)
        except (KeyError, StoreError):
            if first:
                self._note(name, 0, matches=False)
            raise KeyError(name) from None
        opened = kept.open("rb")
        if first:
            self._judge(name, opened)
        return opened

    def _judge(self, name: str, file: BinaryIO) -> None:
        size, matches = _read_whole(file, name.rpartition("/")[2])
        self._note(name, size, matches=matches)

    def _note(self, name: str, size: int, *, matches: bool) -> None:
        with self._lock:
            self.bytes_read += size
            if not matches:
                self.damaged.append(name)

    def _keep(self, path: Path) -> None:
        with self._lock:
            self._kept.append(path)
            old = self._kept.popleft() if len(self._kept) > _KEPT_FILES else None
        if old is not None:
            old.unlink(missing_ok=True)


@contextmanager
def witness(store: Objects, place: Path | None = None) -> Iterator[Witness]:
    """Serve a repository for the block.

    Args:
        store: the repository's directory or prefix.
        place: directory for its socket and for what is kept of a bucket; default: the system's temporary directory.
    """
    scratch = Path(tempfile.mkdtemp(prefix="witness-", dir=place))
    handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # Paths of sockets must be short, that of a lab may not be.
    socket = f"/proc/{os.getpid()}/fd/{handle}/s"
    seen = Witness(store, scratch, socket)
    try:
        with _Server(socket, seen) as server:
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


def stored_as(name: str) -> str:
    """Where a name of the protocol is stored: data files lie in folders by their first two digits."""
    kind, _, identity = name.partition("/")
    return f"{kind}/{identity[:2]}/{identity}" if kind == "data" else name


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


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, seen: Witness) -> None:
        self.witness = seen
        super().__init__(path, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that restic closed early is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        """Size of a file."""
        name = self._name()
        if name is None:
            return
        try:
            with self.server.witness.store.open(stored_as(name)) as file:
                self._range(file, file.seek(0, os.SEEK_END), body=False)
        except KeyError:
            self._answer(HTTPStatus.NOT_FOUND)

    def do_GET(self) -> None:
        """A file, a range of it, or the list of a type."""
        name = self._name()
        if name is None:
            return
        if name.rstrip("/") in _TYPES:
            self._list(name.rstrip("/"))
        else:
            self._file(name)

    def do_POST(self) -> None:
        """Only a lock may be written: restic keeps others from pruning meanwhile."""
        length = int(self.headers.get("Content-Length", "0"))
        content = self.rfile.read(length)
        name = self._lock_name()
        if name is None:
            return
        try:
            self.server.witness.store.write(name, content)
        except StoreError as error:
            self._refuse(error)
        else:
            self._answer(HTTPStatus.OK)

    def do_DELETE(self) -> None:
        """Only a lock may be removed."""
        name = self._lock_name()
        if name is not None:
            self.server.witness.store.delete(name)
            self._answer(HTTPStatus.OK)

    def address_string(self) -> str:
        """A Unix socket has no address."""
        return "restic"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Nothing is logged for each request."""

    def _name(self) -> str | None:
        match = _NAME.fullmatch(self.path.partition("?")[0])
        if match is None:
            self._answer(HTTPStatus.BAD_REQUEST)
        return match.group(1) if match else None

    def _lock_name(self) -> str | None:
        name = self._name()
        if name is not None and not (name.startswith("locks/") and len(name) > len("locks/")):
            self._answer(HTTPStatus.FORBIDDEN)
            return None
        return name

    def _list(self, kind: str) -> None:
        sizes = self.server.witness.store.sizes(kind)
        found = [{"name": name.rpartition("/")[2], "size": size} for name, size in sizes]
        self._answer(HTTPStatus.OK, json.dumps(found).encode(), "application/vnd.x.restic.rest.v2")

    def _file(self, name: str) -> None:
        try:
            with self.server.witness.content(name) as file:
                self._range(file, file.seek(0, os.SEEK_END), body=True)
        except KeyError:
            self._answer(HTTPStatus.NOT_FOUND)
        except SpaceError as error:
            self._refuse(error)

    def _refuse(self, error: HomelabError) -> None:
        """Of all answers that are not 404, restic takes this one for final; others it asks for a quarter of an hour."""
        self.server.witness.refused = error
        self._answer(HTTPStatus.FORBIDDEN)

    def _range(self, file: BinaryIO, size: int, *, body: bool) -> None:
        start, end = 0, size
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match:
            start = int(match.group(1))
            end = int(match.group(2)) + 1 if match.group(2) else size
        if match and not start < end <= size:
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT if match else HTTPStatus.OK)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if body:
            self._send(file, start, end)

    def _send(self, file: BinaryIO, start: int, end: int) -> None:
        file.seek(start)
        while start < end and (chunk := file.read(min(_CHUNK, end - start))):
            self.wfile.write(chunk)
            start += len(chunk)

    def _answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
