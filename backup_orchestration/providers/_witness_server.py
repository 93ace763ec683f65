"""The HTTP side of the witness: restic's REST protocol on a Unix socket, reading only, but for locks.

Protocol: restic's doc/REST_backend.rst, API version 2.
"""

from __future__ import annotations

import json
import os
import re
import socketserver
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from backup_orchestration.providers._witness import Witness

_TYPES = ("data", "index", "keys", "locks", "snapshots")
_NAME = re.compile(r"/(config|(?:data|index|keys|locks|snapshots)/(?:[0-9a-f]{64})?)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CHUNK = 1 << 20


def stored_as(name: str) -> str:
    """Where a name of the protocol is stored: data files lie in folders by their first two digits."""
    kind, _, identity = name.partition("/")
    return f"{kind}/{identity[:2]}/{identity}" if kind == "data" else name


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers for a witness.

    Args:
        path: of the socket.
        seen: the witness.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, seen: Witness) -> None:
        self.witness = seen
        super().__init__(path, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that restic closed early is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    _begun = False  # of this answer

    def do_HEAD(self) -> None:
        """Size of a file."""
        name = self._name()
        if name is not None:
            self._served(lambda: self._size(name))

    def do_GET(self) -> None:
        """A file, a range of it, or the list of a type."""
        name = self._name()
        if name is None:
            return
        if name.rstrip("/") in _TYPES:
            self._served(lambda: self._list(name.rstrip("/")))
        else:
            self._served(lambda: self._file(name))

    def do_POST(self) -> None:
        """Only a lock may be written: restic keeps others from pruning meanwhile."""
        length = int(self.headers.get("Content-Length", "0"))
        content = self.rfile.read(length)
        name = self._lock_name()
        if name is not None:
            self._served(lambda: self._store(name, content))

    def do_DELETE(self) -> None:
        """Only a lock may be removed."""
        name = self._lock_name()
        if name is not None:
            self._served(lambda: self._delete(name))

    def _served(self, action: Callable[[], None]) -> None:
        """Answer by an action. A store that fails is answered with 403: restic does not ask again then."""
        witness = self.server.witness
        try:
            if witness.fault is None:
                action()
                return
        except KeyError:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        except ConnectionError:  # restic's own end of it: the store's are StoreError
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not pass for damage
            witness.give_up(error)
            if self._begun:
                self.close_connection = True
                return
        self._answer(HTTPStatus.FORBIDDEN)

    def address_string(self) -> str:
        """A Unix socket has no address."""
        return "restic"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Nothing is logged for each request."""

    def _name(self) -> str | None:
        self._begun = False
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

    def _size(self, name: str) -> None:
        with self.server.witness.store.open(stored_as(name)) as file:
            self._range(file, file.seek(0, os.SEEK_END), body=False)

    def _store(self, name: str, content: bytes) -> None:
        self.server.witness.store.write(name, content)
        self._answer(HTTPStatus.OK)

    def _delete(self, name: str) -> None:
        self.server.witness.store.delete(name)
        self._answer(HTTPStatus.OK)

    def _list(self, kind: str) -> None:
        sizes = self.server.witness.store.sizes(kind)
        found = [{"name": name.rpartition("/")[2], "size": size} for name, size in sizes]
        self._answer(HTTPStatus.OK, json.dumps(found).encode(), "application/vnd.x.restic.rest.v2")

    def _file(self, name: str) -> None:
        with self.server.witness.content(name) as file:
            self._range(file, file.seek(0, os.SEEK_END), body=True)

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
        self._begun = True
        if body:
            self._send(file, start, end)

    def _send(self, file: BinaryIO, start: int, end: int) -> None:
        if isinstance(file, BufferedReader):  # a real file: the system copies it
            self.connection.sendfile(file, start, end - start)
            return
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
