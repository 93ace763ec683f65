"""Installations with a real restic repository, made once and copied."""

import os
import shutil
import socket
import subprocess

import pytest

from backup_orchestration.core import tools
from backup_orchestration.core.lifeline import die_with_parent
from backup_orchestration.core.places import Bucket
from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.devlab.certificates import Authority
from backup_orchestration.devlab.needs import RCLONE
from backup_orchestration_tests.conftest import needed
from backup_orchestration_tests.postgres_cluster import wait


@pytest.fixture(scope="session")
def template(tmp_path_factory, new_site, start_repository):
    """A site with one snapshot of `app/files` and the evidence that it passed."""
    site = start_repository(new_site(tmp_path_factory.mktemp("template")), "app/files")
    site.backup()
    assert site.restore_test().passed
    return site


@pytest.fixture
def kept(template, tmp_path):
    """A copy of it: something to lose."""
    for name in ("backups", "data", "evidence", "secrets"):
        shutil.copytree(template.root / name, tmp_path / name, symlinks=True)
    for name in ("homelab.toml", "services.py"):
        shutil.copy2(template.root / name, tmp_path / name)
    return type(template)(tmp_path)


@pytest.fixture(scope="session")
def s3_store(tmp_path_factory):
    """rclone's S3 server over TLS, with a certificate of an authority of its own: `Place` of a bucket in it."""
    rclone = needed(lambda: tools.find(RCLONE).path)
    root = tmp_path_factory.mktemp("s3")
    authority = Authority("Test CA")
    issued = authority.issue("localhost", ["localhost"])
    texts = {"ca.pem": authority.issued.certificate, "cert.pem": issued.certificate, "key.pem": issued.key}
    for name, text in {**texts, "access": b"key\n", "secret": b"secret\n"}.items():
        (root / name).write_bytes(text)
    (root / "objects" / "backups").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(rclone), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off"]
    command += ["--cert", str(root / "cert.pem"), "--key", str(root / "key.pem"), str(root / "objects")]
    env = {**os.environ, "RCLONE_AUTH_KEY": '"key,secret"', "RCLONE_CONFIG": ""}
    with open(root / "log", "wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, preexec_fn=die_with_parent)
    try:
        wait(lambda: answers(port))
        yield Bucket(
            bucket="backups", prefix="lab", endpoint=f"https://localhost:{port}", region="us-east-1",
            ca=root / "ca.pem", access_key=SecretRef(file=root / "access"), secret_key=SecretRef(file=root / "secret"),
            name="destinations.default",
        )  # fmt: skip
    finally:
        server.terminate()
        server.wait()


def answers(port):
    """Whether something listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
