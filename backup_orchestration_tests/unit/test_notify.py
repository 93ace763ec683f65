"""A webhook that takes no message, or is none: said by its name, and the others are told all the same."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import pytest

from backup_orchestration.core.errors import NotificationError
from backup_orchestration.operations.alerts import Alert
from backup_orchestration.operations.notify import notify

ALERTS = [Alert("app/files", "stale", "stale", "too old")]
TOKEN = "token-0123456789"


@contextmanager
def answering(answer: bytes):
    """A server that answers each connection with these bytes; gives its address and what it was told."""
    told: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    told.append(b"")
                    while b"]}" not in told[-1] and (part := connection.recv(65536)):  # the end of our message
                        told[-1] += part
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", told
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        (b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n", "hook"),
        (b"this is no HTTP\r\n\r\n", "hook"),
        (b"", "hook"),
        (b"HTTP/1.1 204 ok\r\n\r\n", "not encoded"),
        (b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "hook"),
    ],
    ids=["refuses", "no-http", "hangs-up", "no-url", "leads-to-a-file"],
)
def test_one_that_fails_is_named_without_its_url_and_the_other_is_told(site, answer, path):
    with answering(answer) as (bad, _), answering(b"HTTP/1.1 204 ok\r\n\r\n") as (good, told):
        (site.root / "secrets/bad").write_text(f"{bad}/{path}?{TOKEN}")
        (site.root / "secrets/good").write_text(f"{good}/hook?{TOKEN}")
        with (site.root / "homelab.toml").open("a") as settings:
            for name in ("bad", "good"):
                settings.write(f'[notifications.{name}]\nurl = {{ file = "secrets/{name}" }}\n')
        with pytest.raises(NotificationError) as refused:
            notify(site.homelab, ALERTS)
    assert refused.value.message == "not delivered: bad"
    assert refused.value.__cause__ is None
    assert b"app/files" in b"".join(told)
