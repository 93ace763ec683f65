"""`http`: an application is started on the restored data, and answers over HTTP as it should.

It works on the restored files themselves and may change them, so this probe goes last. It listens on loopback, in a
network of its own where the system allows that (`core.isolation`), and is ended with all that came of it.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from threading import Timer
from typing import Any, ClassVar

from backup_orchestration.core.application import Application, application, free_port
from backup_orchestration.core.errors import ProbeFailedError, SecretError
from backup_orchestration.core.frozen import Frozen
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.probes._http_options import DATABASE, Credentials, HttpOptions, Ready, Request, named_in
from backup_orchestration.probes.base import Finding, ProbeKind, Restored

_REQUEST_SECONDS = 30.0
_POLL_SECONDS = 0.1
_END_SECONDS = 0.3
_MOST_BYTES = 16 * 1024 * 1024
_SERVER_ERROR = 500


class HttpProbe(ProbeKind[HttpOptions]):
    """See the module."""

    name: ClassVar[str] = "http"
    sources: ClassVar[tuple[str, ...]] = ("files", "sqlite", "export", "postgres", "pg_dump")
    options: ClassVar[type[Frozen]] = HttpOptions
    changes_data: ClassVar[bool] = True

    def check(self, restored: Restored, options: HttpOptions) -> Finding:
        """See `ProbeKind`.

        Raises:
            SecretError: a file with credentials on this host cannot be read.
            ToolMissingError: the application is not on this machine.
            LabError: it could not be started in the lab; or on its port listens another program.
        """
        headers = [_header(restored, request.credentials) for request in options.requests]
        removed = _turn_links(restored.root)
        inside = restored.root.parent
        with tempfile.TemporaryDirectory(prefix="application-", dir=inside, ignore_cleanup_errors=True) as scratch:
            port = free_port()
            argv = _filled(options.command, restored, port, scratch)
            environment = {"HOME": scratch, "TMPDIR": scratch}
            with application(argv, port, inside, environment) as running:
                _await(running, options.ready)
                for request, header in zip(options.requests, headers, strict=True):
                    _expect(running, request, header)
                isolated = running.isolated
        told = [f"{len(options.requests)} request(s) to the application answered as they should"]
        told += [f"{removed} link(s) out of the lab removed"] if removed else []
        told += [] if isolated else ["not isolated: this system gives it no name spaces"]
        return Finding("; ".join(told), {"requests": len(options.requests)})


def _filled(command: tuple[str, ...], restored: Restored, port: int, scratch: str) -> list[str]:
    values: dict[str, object] = {"root": restored.root, "port": port, "lab": scratch}
    if restored.server is not None:
        server = restored.server
        values |= {"socket": server.socket, "database_port": server.port, "database_user": server.user}
        values["database_programs"] = server.programs.directory
    for argument in command:
        for name in sorted(named_in(argument) & DATABASE - set(values)):
            raise ProbeFailedError(f"the command names {{{name}}}, and no PostgreSQL runs on what was restored")
    return [argument.format_map(values) for argument in command]


def _turn_links(root: Path) -> int:
    """Turn absolute links to where their targets stand in the lab; remove those that lead out of it.

    What is behind such a link was not restored: an application that follows it would be served from production.
    Returns the number of the removed.
    """
    removed = 0
    real = os.path.realpath(root)
    for directory, folders, names in os.walk(root):
        for path in (os.path.join(directory, name) for name in (*folders, *names)):  # noqa: PTH118 - a hot loop
            if not os.path.islink(path):  # noqa: PTH114
                continue
            inside = f"{real}{os.readlink(path)}"
            if os.path.isabs(os.readlink(path)) and os.path.lexists(inside):  # noqa: PTH117
                Path(path).unlink()
                Path(path).symlink_to(inside)
            if not Path(os.path.realpath(path)).is_relative_to(real):
                Path(path).unlink()
                removed += 1
    return removed


def _header(restored: Restored, credentials: Credentials | None) -> Mapping[str, str]:
    """The header that carries the secret; from now on the secret is masked everywhere."""
    if credentials is None:
        return {}
    secret = _secret(restored, credentials)
    REDACTOR.add(secret)
    if credentials.scheme == "basic":
        REDACTOR.add(secret.partition(":")[2])
        secret = base64.b64encode(secret.encode()).decode()
        REDACTOR.add(secret)
    prefix = {"basic": "Basic ", "bearer": "Bearer ", "plain": ""}[credentials.scheme]
    return {credentials.header: prefix + secret}


def _secret(restored: Restored, credentials: Credentials) -> str:
    path = credentials.file or credentials.restored
    try:
        place = credentials.file or restored.inside(str(path))
        with place.open(encoding="utf-8") as lines:
            secret = lines.readline().strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        message = f"the credentials in {path} cannot be read: {why}"
        if credentials.file:
            raise SecretError(message, remedy="put the secret into the file") from error
        raise ProbeFailedError(message) from error
    if secret:
        return secret
    if credentials.file:
        raise SecretError(f"{path}: its first line is empty", remedy="put the secret into the file")
    raise ProbeFailedError(f"{path}: its first line should hold credentials and is empty")


def _await(running: Application, ready: Ready) -> None:
    deadline = time.monotonic() + ready.seconds
    answered = None
    while time.monotonic() < deadline:
        _require_alive(running, "before it answered")
        answered = _ask(running, Request(path=ready.path), {}, deadline - time.monotonic())
        if answered is not None and answered.status < _SERVER_ERROR:
            return
        time.sleep(_POLL_SECONDS)
    _require_alive(running, "before it answered")
    how = f"answers {ready.path} with {answered.status}" if answered else f"did not answer {ready.path}"
    raise ProbeFailedError(f"the application {how} after {ready.seconds:g} s{_said(running)}")


def _expect(running: Application, request: Request, header: Mapping[str, str]) -> None:
    """Raises ProbeFailedError unless it answers this request as declared."""
    what = f"{request.method} {request.path}{' with credentials' if header else ''}"
    answer = _ask(running, request, header, _REQUEST_SECONDS)
    if answer is None:
        time.sleep(_END_SECONDS)  # the end of a program is known a little later than that of its connection
        _require_alive(running, f"when it was asked {what}")
        raise ProbeFailedError(f"{what}: no whole answer in HTTP within {_REQUEST_SECONDS:g} s{_said(running)}")
    if answer.status != request.status:
        raise ProbeFailedError(f"{what}: status {answer.status}, {request.status} was expected{_said(running)}")
    for name, text in request.headers.items():
        if text.lower() not in answer.headers.get(name, "").lower():
            raise ProbeFailedError(f"{what}: header {name} is {answer.headers.get(name)!r}, without {text!r}")
    if request.contains is not None and request.contains.encode() not in answer.body:
        raise ProbeFailedError(f"{what}: {request.contains!r} is not in the {len(answer.body):,} bytes of the answer")
    for pointer, expected in request.json_equals.items():
        found = _at(answer.body, pointer, what)
        if found != expected or isinstance(found, bool) != isinstance(expected, bool):
            raise ProbeFailedError(f"{what}: {pointer} is {_short(found)}, {_short(expected)} was expected")


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: HTTPMessage
    body: bytes


def _ask(running: Application, request: Request, header: Mapping[str, str], seconds: float) -> _Answer | None:
    """What it answers, its redirect as it is; None if that is nothing, no HTTP, or takes longer."""
    connected = running.connect()
    if connected is None:
        return None
    connection = HTTPConnection("127.0.0.1", running.port)
    connection.auto_open = 0  # it must not make a connection of its own, outside of the lab
    connection.sock = connected
    deadline = time.monotonic() + seconds
    # The time limit of a socket begins anew with every byte; this one does not.
    cut = Timer(seconds, _cut, [connected])
    cut.start()
    try:
        connection.request(request.method, request.path, headers=dict(header))
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES)
        return _Answer(answer.status, answer.headers, body) if time.monotonic() < deadline else None
    except (HTTPException, OSError, ValueError):
        return None
    finally:
        cut.cancel()
        connection.close()


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


def _require_alive(running: Application, when: str) -> None:
    code = running.returncode
    if code is not None:
        raise ProbeFailedError(f"the application ended with exit code {code} {when}{_said(running)}")


def _said(running: Application) -> str:
    said = running.last_line()
    return f"; it said last: {said}" if said else ""


def _at(body: bytes, pointer: str, what: str) -> Any:
    """The value at a JSON pointer (RFC 6901)."""
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ProbeFailedError(f"{what}: the answer is no JSON") from error
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (LookupError, TypeError, ValueError) as error:
            raise ProbeFailedError(f"{what}: the answer has no {pointer}") from error
    return value


def _short(value: object) -> str:
    return json.dumps(value)[:100]
