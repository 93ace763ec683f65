"""Real S3 servers on loopback, for tests and benches: MinIO, versitygw, moto and rclone.

Each runs in a process session of its own and ends with the block that started it, or with the process that did.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from backup_orchestration.core import tools
from backup_orchestration.core.beside import Running, running
from backup_orchestration.core.commands import Command
from backup_orchestration.core.errors import ToolMissingError
from backup_orchestration.core.places import Bucket
from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.devlab.certificates import Authority
from backup_orchestration.devlab.needs import RCLONE
from scripts.build_servers import MC, MINIO, VERSITYGW, Program

ACCESS, SECRET = "access-key-of-tests", "secret-key-of-tests"
REGION = "us-east-1"
_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        name: as in the tables that tests print.
        endpoint: URL without a path.
        root: directory of its own: certificates and keys; what it stores lies in `objects`.
        ca: what its certificate is checked by; None without TLS.
    """

    name: str
    endpoint: str
    root: Path
    ca: Path | None

    def client(self, **config: Any) -> Any:
        """A boto3 client of it."""
        # rclone and versitygw do not know the checksums that boto3 sends by itself.
        config = {
            "request_checksum_calculation": "when_required", "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path"}, "retries": {"total_max_attempts": 1}, **config,
        }  # fmt: skip
        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET, verify=str(self.ca) if self.ca else None, config=Config(**config),
        )  # fmt: skip

    def bucket(self, name: str, prefix: str = "") -> Bucket:
        """A place in it, as settings name one."""
        return Bucket(
            bucket=name, prefix=prefix, endpoint=self.endpoint, region=REGION, ca=self.ca,
            access_key=SecretRef(file=self.root / "access"), secret_key=SecretRef(file=self.root / "secret"),
            name="destinations.default",
        )  # fmt: skip


def built(program: Program) -> Path:
    """Where a program lies that `scripts/build_servers.py` builds.

    Raises:
        ToolMissingError: it is not built.
    """
    if not program.path.exists():
        raise ToolMissingError(f"{program.path} is not there", remedy="run `make servers`")
    return program.path


def mc_for(room: Path, **aliases: Server) -> list[str]:
    """How `mc` is called so that it knows these servers by these names; `room` is for its configuration."""
    authorities = room / "certs" / "CAs"
    authorities.mkdir(parents=True, exist_ok=True)
    known = {}
    for name, server in aliases.items():
        known[name] = {"url": server.endpoint, "accessKey": ACCESS, "secretKey": SECRET, "api": "s3v4", "path": "on"}
        if server.ca:
            (authorities / f"{name}.pem").write_bytes(server.ca.read_bytes())
    (room / "config.json").write_text(json.dumps({"version": "10", "aliases": known}))
    return [str(built(MC)), "--config-dir", str(room), "--no-color", "--disable-pager"]


def rclone_for(room: Path, provider: str = "Other", **remotes: Server) -> list[str]:
    """How `rclone` is called so that it knows these servers by these names; `room` is for its configuration."""
    text = ""
    for name, server in remotes.items():
        lines = {
            "type": "s3", "provider": provider, "endpoint": server.endpoint, "access_key_id": ACCESS,
            "secret_access_key": SECRET, "region": REGION, "force_path_style": "true",
        }  # fmt: skip
        text += f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())
    room.mkdir(exist_ok=True)
    (room / "rclone.conf").write_text(text)
    authorities = [word for server in remotes.values() if server.ca for word in ("--ca-cert", str(server.ca))]
    return [str(tools.find(RCLONE).path), "--config", str(room / "rclone.conf"), *authorities]


@contextmanager
def minio(root: Path, *, tls: bool = True) -> Iterator[Server]:
    """MinIO on one directory."""

    def argv(port: int) -> list[str]:
        certificates = root / "certs"
        certificates.mkdir()
        if tls:
            (certificates / "public.crt").symlink_to(root / "cert.pem")
            (certificates / "private.key").symlink_to(root / "key.pem")
        program = [str(built(MINIO)), "server", "--quiet", "--anonymous", "--certs-dir", str(certificates)]
        return [*program, "--address", f"127.0.0.1:{port}", "--console-address", "127.0.0.1:0", str(root / "objects")]

    env = {
        "MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
        "MINIO_CI_CD": "on",  # else it refuses a directory on the system's disk
    }  # fmt: skip
    with _serving("MinIO", root, argv, env, tls=tls) as server:
        yield server


@contextmanager
def versitygw(root: Path, *, tls: bool = True) -> Iterator[Server]:
    """versitygw on a directory: objects are files, what is told of them lies in extended attributes or beside."""

    def argv(port: int) -> list[str]:
        beside = root / "metadata"
        beside.mkdir()
        program = [str(built(VERSITYGW)), "--port", f"127.0.0.1:{port}", "--region", REGION, "--quiet"]
        program += ["--cert", str(root / "cert.pem"), "--key", str(root / "key.pem")] if tls else []
        return [*program, "posix", "--sidecar", str(beside), str(root / "objects")]

    with _serving("versitygw", root, argv, {"ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}, tls=tls) as server:
        yield server


@contextmanager
def moto(root: Path) -> Iterator[Server]:
    """moto's server: all of S3's semantics in memory, no TLS."""

    def argv(port: int) -> list[str]:
        return [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]

    with _serving("moto", root, argv, {}, tls=False) as server:
        yield server


@contextmanager
def rclone(root: Path, *, tls: bool = True) -> Iterator[Server]:
    """`rclone serve s3` on a directory, as the example lab runs it."""

    def argv(port: int) -> list[str]:
        program = [str(tools.find(RCLONE).path), "serve", "s3", "--addr", f"127.0.0.1:{port}"]
        program += ["--cert", str(root / "cert.pem"), "--key", str(root / "key.pem")] if tls else []
        return [*program, "--vfs-cache-mode", "off", str(root / "objects")]

    env = {"RCLONE_AUTH_KEY": f'"{ACCESS},{SECRET}"', "RCLONE_CONFIG": ""}
    with _serving("rclone", root, argv, env, tls=tls) as server:
        yield server


# By the name that tables show.
SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "MinIO": minio,
    "versitygw": versitygw,
    "moto": moto,
    "rclone": rclone,
}


@contextmanager
def _serving(
    name: str, root: Path, argv: Callable[[int], list[str]], env: Mapping[str, str], *, tls: bool
) -> Iterator[Server]:
    """Run one until the block ends.

    Raises:
        RuntimeError: it ended, or did not answer in time; holds what it printed.
    """
    (root / "objects").mkdir(parents=True)
    authority = Authority("Test CA")
    issued = authority.issue("localhost", ["localhost", "127.0.0.1"])
    texts = {"ca.pem": authority.issued.certificate, "cert.pem": issued.certificate, "key.pem": issued.key}
    for file, text in {**texts, "access": ACCESS.encode(), "secret": SECRET.encode()}.items():
        (root / file).write_bytes(text)
    port = _free_port()
    server = Server(name, f"{'https' if tls else 'http'}://localhost:{port}", root, ca=root / "ca.pem" if tls else None)
    command = Command(argv(port), timeout=_SECONDS, env={"HOME": str(root), **env})
    with running(command, grace=10) as process:
        _wait(server, process)
        yield server


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait(server: Server, process: Running) -> None:
    """Until it lists its buckets: it listens before it can do that."""
    deadline = time.monotonic() + _SECONDS
    client = server.client(connect_timeout=5, read_timeout=5)
    while True:
        if process.returncode is not None:
            raise RuntimeError(f"{server.name} ended: {process.lines()}")
        try:
            client.list_buckets()
            return
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{server.name} does not answer: {error}\n{process.lines()}") from error
            time.sleep(0.05)
