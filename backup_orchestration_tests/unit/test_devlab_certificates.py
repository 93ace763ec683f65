"""The example lab's certificates, as a client sees them that is as strict as Python's are from 3.13."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from threading import Thread

import pytest

from backup_orchestration.devlab.certificates import Authority


@pytest.fixture
def store(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server with an issued certificate uses, and a client that trusts its authority."""
    authority = Authority("lab")
    issued = authority.issue("store", ["localhost", "127.0.0.1"])
    for name, text in (("ca", authority.issued.certificate), ("cert", issued.certificate), ("key", issued.key)):
        (tmp_path / name).write_bytes(text)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return server, client


def connect(store: tuple[ssl.SSLContext, ssl.SSLContext], name: str) -> None:
    server, client = store
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()  # the client has refused

    thread = Thread(target=serve)
    thread.start()
    try:
        with ours:
            client.wrap_socket(ours, server_hostname=name).close()
    finally:
        thread.join(timeout=20)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_strict_client_takes_it(store: tuple[ssl.SSLContext, ssl.SSLContext], name: str) -> None:
    connect(store, name)


def test_another_name_is_refused(store: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        connect(store, "elsewhere")
