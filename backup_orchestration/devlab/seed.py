"""Makes the services' first data, once. All but Radicale are stand-ins: none of the real ones runs here."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.private_files import private_directory, write_atomically
from backup_orchestration.devlab import objects, radicale
from backup_orchestration.devlab.certificates import Authority
from backup_orchestration.probes.git import GIT

HOST_NAMES = ("gitlab.lab.example", "grafana.lab.example")
REPOSITORIES = ("@hashed/4b/22/notes.git", "@hashed/4e/07/infra.git", "@hashed/6b/86/web.git")

_GRAFANA = """
CREATE TABLE org (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE user (id INTEGER PRIMARY KEY, login TEXT NOT NULL UNIQUE, is_admin INTEGER NOT NULL);
CREATE TABLE dashboard (id INTEGER PRIMARY KEY, org_id INTEGER REFERENCES org (id), title TEXT, data TEXT);
CREATE TABLE data_source (id INTEGER PRIMARY KEY, org_id INTEGER REFERENCES org (id), name TEXT, type TEXT);
CREATE TABLE annotation (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, text TEXT NOT NULL);
"""


def seed(services: Path) -> None:
    """Make what is missing; what is there is left as it is."""
    makers = {
        "certs": _certs,
        "grafana": _grafana,
        "gitlab": _gitlab,
        "meilisearch": _meilisearch,
        "minio": objects.seed,
        "radicale": radicale.seed,
    }
    for name, make in makers.items():
        if not (services / name).exists():
            make(private_directory(services / name))


def _certs(directory: Path) -> None:
    authority = Authority("Example Lab CA")
    wildcard = authority.issue("*.lab.example", ["*.lab.example", "lab.example"])
    files = {
        "ca.pem": authority.issued.certificate,
        "ca.key": authority.issued.key,
        "wildcard.pem": wildcard.certificate,
        "wildcard.key": wildcard.key,
    }
    for name, content in files.items():
        write_atomically(directory / name, content, 0o600 if name.endswith(".key") else 0o644)


def _grafana(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "grafana.db")) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_GRAFANA)
        database.execute("INSERT INTO org (name) VALUES ('Main Org.')")
        database.execute("INSERT INTO user (login, is_admin) VALUES ('admin', 1)")
        panels = [(f"Dashboard {number}", json.dumps({"panels": list(range(number))})) for number in range(1, 13)]
        database.executemany("INSERT INTO dashboard (org_id, title, data) VALUES (1, ?, ?)", panels)
        database.execute("INSERT INTO data_source (org_id, name, type) VALUES (1, 'prometheus', 'prometheus')")


def _gitlab(directory: Path) -> None:
    config = private_directory(directory / "config")
    write_atomically(config / "gitlab.rb", b'external_url "https://gitlab.lab.example"\n', 0o600)
    keys = ("db_key_base", "secret_key_base", "otp_key_base")
    text = json.dumps({"gitlab_rails": {key: secrets.token_hex(64) for key in keys}}, indent=2)
    write_atomically(config / "gitlab-secrets.json", text.encode(), 0o600)
    for number, name in enumerate(REPOSITORIES):
        repository = directory / "repositories" / name
        repository.parent.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
        for commit in range(4 + number):
            push(repository, "main", f"notes {commit}\n" * 40)


def _meilisearch(directory: Path) -> None:
    documents = {
        "books": [{"id": number, "title": f"Book {number}"} for number in range(120)],
        "films": [{"id": number, "title": f"Film {number}"} for number in range(80)],
    }
    (directory / "dumps").mkdir()
    write_atomically(directory / "documents.json", json.dumps(documents).encode())


def push(repository: Path, branch: str, text: str) -> None:
    """Add a commit to a branch of a bare repository, as a push does: objects first, the reference last."""
    inside = ("--git-dir", str(repository))
    with tempfile.TemporaryDirectory(prefix="homelab-push-") as folder:
        (Path(folder) / "notes.txt").write_text(text, encoding="utf-8")
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git(*inside, "--work-tree", folder, "add", "notes.txt", environment=index)
        tree = git(*inside, "write-tree", environment=index)
    reference = f"refs/heads/{branch}"
    before = git(*inside, "for-each-ref", "--format=%(objectname)", reference)
    commit = git(*inside, "commit-tree", tree, *(("-p", before) if before else ()), "-m", "one more")
    git(*inside, "update-ref", reference, commit)


def git(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run git with a name and without anybody's configuration; returns what it prints."""
    whole = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Lab",
        "GIT_AUTHOR_EMAIL": "lab@lab.example",
        "GIT_COMMITTER_NAME": "Lab",
        "GIT_COMMITTER_EMAIL": "lab@lab.example",
        **(environment or {}),
    }
    return check(Command([str(tools.find(GIT).path), *arguments], 60, whole)).stdout.strip()
