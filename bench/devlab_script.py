"""What a careful person would write to back up the example lab and try its backups: one thing after the other.

It takes the same data with the same tools and asks the same questions of what comes back as homelab's probes do.
It keeps no evidence and no history, and what it does when something fails is to end.
Usage: devlab_script.py HOME RESTIC DESCRIPTION, the last as `homelab devlab status --json` prints it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

HOME, RESTIC, LAB = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
STORE = Path(LAB["store"]["path"]) / "backups"
ENVIRONMENT = {
    **os.environ,
    "RESTIC_PASSWORD_FILE": str(HOME / "secrets/backup-password"),
    "RESTIC_CACHE_DIR": str(HOME / "script-cache"),
    "RESTIC_CACERT": str(HOME / "store-ca.pem"),
    "RESTIC_PROGRESS_FPS": "1",
    "AWS_ACCESS_KEY_ID": (HOME / "secrets/access-key").read_text().strip(),
    "AWS_SECRET_ACCESS_KEY": (HOME / "secrets/secret-key").read_text().strip(),
    "AWS_DEFAULT_REGION": "us-east-1",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder)
        sources = {
            "certs-ca": HOME / "services/certs",
            "gitlab-config": HOME / "services/gitlab/config",
            "gitlab-repositories": HOME / "services/gitlab/repositories",
            "grafana-db": grafana(staging),
            "meilisearch-dump": meilisearch(staging),
        }
        taken = {name: back_up(name, source) for name, source in sources.items()}
        for name, (identity, checksums) in taken.items():
            try_out(name, identity, checksums, staging / "restored")


def grafana(staging: Path) -> Path:
    copy = staging / "grafana.db"
    with (
        closing(sqlite3.connect(f"file:{HOME}/services/grafana/grafana.db?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(copy)) as target,
    ):
        live.backup(target)
    return copy


def meilisearch(staging: Path) -> Path:
    key = (HOME / "secrets/meilisearch-key").read_text().strip()

    def ask(method: str, path: str) -> Any:
        url = f"{LAB['services']['meilisearch']['url']}{path}"
        request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    task = ask("POST", "/dumps")["taskUid"]
    while (answer := ask("GET", f"/tasks/{task}"))["status"] != "succeeded":
        time.sleep(0.2)
    dump = HOME / "services/meilisearch/dumps" / f"{answer['details']['dumpUid']}.dump"
    directory = staging / "export"
    directory.mkdir()
    shutil.move(dump, directory)
    return directory


def restic(name: str, *arguments: str) -> str:
    repository = f"s3:{LAB['store']['endpoint']}/backups/script-restic-{name}"
    argv = [RESTIC, "--repo", repository, *arguments]
    return subprocess.run(argv, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True).stdout


def back_up(name: str, source: Path) -> tuple[str, dict[str, str]]:
    """Store it and see that it is there; returns the snapshot's id and the checksums of what was stored."""
    restic(name, "cat", "config", "--no-lock")
    checksums = {str(path): digest(path) for path in files(source)}
    mark = f"run={uuid.uuid4()}"
    restic(name, "backup", "--json", "--host", "homelab", "--tag", mark, "--exclude", "*.lock", str(source))
    (snapshot,) = json.loads(restic(name, "snapshots", "--json", "--no-lock", "--tag", mark))
    return snapshot["id"], checksums


def try_out(name: str, identity: str, checksums: dict[str, str], into: Path) -> None:
    """Restore it, read the repository, and ask of the data what can be asked."""
    restic(name, "snapshots", "--json", "--no-lock", "--tag", "target")
    restic(name, "--no-cache", "restore", identity, "--target", str(into))
    for path in files(STORE / f"script-restic-{name}"):
        if path.parent.name not in ("keys", "locks") and path.name != "config" and digest(path) != path.name:
            sys.exit(f"{path} is damaged")
    changed = [path for path, checksum in checksums.items() if digest(into / path.lstrip("/")) != checksum]
    if changed and name != "gitlab-repositories":  # written all the while
        sys.exit(f"{changed} came back different")
    probe(name, into)
    shutil.rmtree(into)


def probe(name: str, into: Path) -> None:
    if name == "gitlab-repositories":
        for repository in into.rglob("*.git"):
            subprocess.run(
                ["git", "-c", "safe.directory=*", "-C", repository, "fsck", "--full", "--strict", "--no-dangling"],
                check=True,
                capture_output=True,
            )
    elif name == "grafana-db":
        with closing(sqlite3.connect(next(into.rglob("grafana.db")))) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert database.execute("SELECT count(*) FROM dashboard").fetchone()[0] >= 12
    elif name == "certs-ca":
        folder = next(into.rglob("wildcard.pem")).parent
        subprocess.run(["openssl", "verify", "-CAfile", "ca.pem", "wildcard.pem"], cwd=folder, check=True, stdout=-3)
        for argument in ("x509", "-in", "wildcard.pem", "-pubkey"), ("pkey", "-in", "wildcard.key", "-pubout"):
            subprocess.run(["openssl", *argument], cwd=folder, check=True, stdout=-3)


def files(root: Path) -> list[Path]:
    return [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
