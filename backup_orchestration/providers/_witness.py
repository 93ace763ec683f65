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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Lock, Thread
from typing import BinaryIO

_TYPES = ("data", "index", "keys", "locks", "snapshots")
_NAME = re.compile(r"/(config|(?:data|index|keys|locks|snapshots)/(?:[0-9a-f]{64})?)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CHUNK = 1 << 20


@dataclass
class Witness:
    """What was handed out.

    Attributes:
        url: what restic opens as its repository.
        damaged: files that do not match their name or are missing, as `data/<id>`.
        bytes_read: size of all files read and checked.
    """

    root: Path
    url: str = ""
    damaged: list[str] = field(default_factory=list)
    bytes_read: int = 0
    _checked: dict[str, Lock] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def path(self, name: str) -> Path:
        """File of a name such as `data/<id>`; data files lie in folders by their first two digits."""
        kind, _, identity = name.partition("/")
        return self.root / kind / identity[:2] / identity if kind == "data" else self.root / name

    def check(self, name: str) -> None:
        """Read a file whole, once, and remember it when it does not match its name."""
        if name == "config" or name.startswith("locks/"):
            return  # the configuration is authenticated by restic itself; locks are not part of any snapshot
        with self._lock:
            first = name not in self._checked
            turn = self._checked.setdefault(name, Lock())
            if first:
                turn.acquire()
        if not first:
            with turn:  # another request is reading it
                return
        try:
            size, matches = _read_whole(self.path(name), name.rpartition("/")[2])
            with self._lock:
                self.bytes_read += size
                if not matches:
                    self.damaged.append(name)
        finally:
            turn.release()


@contextmanager
def witness(root: Path) -> Iterator[Witness]:
    """Serve the repository in this directory for the block."""
    # A directory of its own in the temporary directory: socket paths must be short.
    private = Path(tempfile.mkdtemp(prefix="homelab-"))
    seen = Witness(root)
    try:
        with _Server(str(private / "s"), seen) as server:
            seen.url = f"rest:http+unix://{private}/s:/"
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            try:
                yield seen
            finally:
                server.shutdown()
                thread.join()
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _read_whole(path: Path, identity: str) -> tuple[int, bool]:
    """Size of a file, and whether its SHA-256 is its name."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError:
        return size, False
    return size, digest.hexdigest() == identity


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
        if name is not None:
            self._file(name, body=False)

    def do_GET(self) -> None:
        """A file, a range of it, or the list of a type."""
        name = self._name()
        if name is None:
            return
        if name.rstrip("/") in _TYPES:
            self._list(name.rstrip("/"))
        else:
            self.server.witness.check(name)
            self._file(name, body=True)

    def do_POST(self) -> None:
        """Only a lock may be written: restic keeps others from pruning meanwhile."""
        length = int(self.headers.get("Content-Length", "0"))
        content = self.rfile.read(length)
        name = self._lock_name()
        if name is None:
            return
        path = self.server.witness.path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self._answer(HTTPStatus.OK)

    def do_DELETE(self) -> None:
        """Only a lock may be removed."""
        name = self._lock_name()
        if name is not None:
            self.server.witness.path(name).unlink(missing_ok=True)
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
        found = []
        for directory, _, names in os.walk(self.server.witness.root / kind):
            for name in names:
                try:
                    found.append({"name": name, "size": (Path(directory) / name).stat().st_size})
                except FileNotFoundError:
                    continue
        body = json.dumps(found).encode()
        self._answer(HTTPStatus.OK, body, "application/vnd.x.restic.rest.v2")

    def _file(self, name: str, *, body: bool) -> None:
        try:
            file = self.server.witness.path(name).open("rb")
        except OSError:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        with file:
            size = os.fstat(file.fileno()).st_size
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
