"""The lab's homelab.toml and services.py, as a person would write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from backup_orchestration.core.private_files import write_atomically
from backup_orchestration.devlab import objects, postgres, radicale
from backup_orchestration.devlab.paths import DevlabPaths
from backup_orchestration.devlab.seed import HOST_NAMES

_STORE = """\
endpoint = "https://localhost:{port}"
ca = "store-ca.pem"
access_key = {{ file = "secrets/access-key" }}
secret_key = {{ file = "secrets/secret-key" }}
"""

_SETTINGS = """\
# Settings of the example lab, written by `homelab devlab up`, which later changes the ports in it and nothing else.
contributors = [
    "./services.py:certs",
    "./services.py:gitlab",
    "./services.py:grafana",
    "./services.py:meilisearch",
    "./services.py:minio",
    "./services.py:radicale",
]
home = "."

[destinations.default]
location = "s3://backups"
{store}password = {{ file = "secrets/backup-password" }}

[evidence]
location = "s3://backups/evidence"
{store}key = {{ file = "secrets/evidence-key" }}
"""

_SERVICES = '''\
"""The services of the example lab. Radicale is the real one; the others are stand-ins."""

import sys
from pathlib import Path

from backup_orchestration import Bucket, Postgres, SecretRef
from backup_orchestration.contributors.certs import Certs
from backup_orchestration.contributors.gitlab import GitLab
from backup_orchestration.contributors.grafana import Grafana
from backup_orchestration.contributors.meilisearch import Meilisearch
from backup_orchestration.contributors.minio import Minio
from backup_orchestration.contributors.radicale import Radicale

HERE = Path(__file__).parent
SERVICES = HERE / "services"
OBJECTS = "https://localhost:{objects}"
CA, ACCESS_KEY, SECRET_KEY = HERE / "store-ca.pem", HERE / "secrets/{access_key}", HERE / "secrets/{secret_key}"

certs = Certs(SERVICES / "certs", {hosts!r}, stand_in=True)
gitlab = GitLab(
    SERVICES / "gitlab/config",
    SERVICES / "gitlab/repositories",
    database=Postgres(data=SERVICES / "gitlab/postgres", socket={socket!r}),
    lfs=Bucket(
        endpoint=OBJECTS,
        bucket="gitlab-lfs",
        ca=CA,
        access_key=SecretRef(file=ACCESS_KEY),
        secret_key=SecretRef(file=SECRET_KEY),
    ),
    # A stand-in for GitLab's API; the real one needs the whole of GitLab.
    api=(
        *(sys.executable, "-P", "-m", "backup_orchestration.devlab.gitlab_api"),
        *("{{port}}", "{{database_programs}}", "{{socket}}", "{{database_port}}", "{{database_user}}"),
    ),
    token=HERE / "secrets/gitlab-token",
    stand_in=True,
)
grafana = Grafana(SERVICES / "grafana/grafana.db", min_rows={{"dashboard": 12}}, stand_in=True)
meilisearch = Meilisearch(
    "http://127.0.0.1:{port}",
    SERVICES / "meilisearch/dumps",
    key_file=HERE / "secrets/meilisearch-key",
    stand_in=True,
)
minio = Minio(
    OBJECTS,
    access_key=ACCESS_KEY,
    secret_key=SECRET_KEY,
    ca=CA,
    gitlab="gitlab/repositories",
    stand_in=True,
)
radicale = Radicale(SERVICES / "radicale", {event!r}, contains={summary!r})
'''


def write(paths: DevlabPaths, ports: Mapping[str, int]) -> None:
    """Write what is missing; in what is there, and may have been edited, only the ports are brought up to date."""
    store = _STORE.format(port=ports["store"])
    _write(paths.settings, _SETTINGS.format(store=store), {"https://localhost:": ports["store"]})
    services = _SERVICES.format(
        hosts=HOST_NAMES,
        port=ports["services"],
        objects=ports["objects"],
        access_key=objects.ACCESS_KEY,
        secret_key=objects.SECRET_KEY,
        socket=str(postgres.socket(paths)),
        event=radicale.EVENT,
        summary=radicale.SUMMARY,
    )
    addresses = {"http://127.0.0.1:": ports["services"], "https://localhost:": ports["objects"]}
    _write(paths.home / "services.py", services, addresses)


def _write(path: Path, text: str, addresses: Mapping[str, int]) -> None:
    if path.exists():
        text = path.read_text(encoding="utf-8")
        for address, port in addresses.items():
            text = re.sub(rf"{re.escape(address)}\d+", f"{address}{port}", text)
    write_atomically(path, text.encode(), 0o644)
