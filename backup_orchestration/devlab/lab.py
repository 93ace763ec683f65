"""`homelab devlab up`, `down`, `status`: the example lab's processes."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backup_orchestration.core.commands import start_detached
from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.private_files import private_directory, write_atomically
from backup_orchestration.core.processes import is_alive, name_of, stop_sessions
from backup_orchestration.devlab import objects, parts, postgres, templates
from backup_orchestration.devlab.certificates import Authority
from backup_orchestration.devlab.paths import DevlabPaths
from backup_orchestration.devlab.seed import seed

_REAL = ("radicale",)
_SECRETS = (
    *("backup-password", "evidence-key", "access-key", "secret-key", "meilisearch-key", "gitlab-token"),
    *(objects.ACCESS_KEY, objects.SECRET_KEY),
)
_MARK = ".homelab-devlab"
_UP_SECONDS = 120.0
_DOWN_SECONDS = 15.0
_POLL_SECONDS = 0.25


def up(paths: DevlabPaths, say: Callable[[str], None]) -> None:
    """Make what is missing, start what does not run, and wait until all of it answers.

    Raises:
        HomelabError: something does not answer in time; its log is named.
    """
    _require_ours(paths)
    private_directory(paths.home)
    with repository_lock(paths.home / "locks", "devlab", timeout=_UP_SECONDS):
        (paths.home / _MARK).touch()
        _make(paths)
        ports = _ports(paths)
        templates.write(paths, ports)
        _start_missing(paths, ports, say)
        _await(paths, ports)


def down(paths: DevlabPaths, *, purge: bool) -> None:
    """Stop every process; with `purge`, remove everything the lab has made."""
    _require_ours(paths)
    running = _running(paths)
    # Who writes ends first, and the store last: what the server has not archived yet goes there.
    stop_sessions([process for name, process in running.items() if name not in ("store", "postgres")], _DOWN_SECONDS)
    postgres.stop(running.get("postgres", ""))
    stop_sessions(list(running.values()), _DOWN_SECONDS)
    shutil.rmtree(postgres.socket(paths), ignore_errors=True)
    shutil.rmtree(paths.run, ignore_errors=True)
    if purge and paths.home.exists():
        shutil.rmtree(paths.home)
        # The directory above is ours as well when nothing else is in it.
        if not any(paths.home.parent.iterdir()):
            paths.home.parent.rmdir()


def is_up(paths: DevlabPaths) -> bool:
    """Whether every process runs and answers."""
    ports = _saved_ports(paths)
    return (
        bool(ports)
        and set(_running(paths)) == set(parts.NAMES)
        and all(parts.answers(name, paths, ports) for name in parts.NAMES)
    )


def describe(paths: DevlabPaths) -> dict[str, Any]:
    """What `status --json` prints."""
    ports = _saved_ports(paths)
    listening = {"gitlab": "gitlab", "meilisearch": "services", "minio": "objects", "radicale": "radicale"}
    services = {
        name: {
            "path": str(paths.services / name),
            "url": parts.url(ports, listening[name]) if name in listening else None,
            "real": name in _REAL,
        }
        for name in ("certs", "grafana", "gitlab", "meilisearch", "minio", "radicale")
    }
    return {
        "home": str(paths.home),
        "settings": str(paths.settings),
        "store": {"endpoint": parts.url(ports, "store"), "path": str(paths.store)},
        "ui_url": parts.url(ports, "ui"),
        "services": services,
    }


def _require_ours(paths: DevlabPaths) -> None:
    if paths.home.exists() and any(paths.home.iterdir()) and not (paths.home / _MARK).exists():
        raise HomelabError(f"{paths.home} was not made by the lab", remedy="move it away; nothing was changed")


def _make(paths: DevlabPaths) -> None:
    for directory in (paths.secrets, paths.services, paths.store / "backups", paths.logs, paths.run):
        private_directory(directory)
    for name in _SECRETS:
        if not (paths.secrets / name).exists():
            write_atomically(paths.secrets / name, f"{secrets.token_hex(20)}\n".encode())
    if not (paths.secrets / "store.key").exists():
        authority = Authority("Lab Store CA")
        issued = authority.issue("localhost", ["localhost", "127.0.0.1"])
        write_atomically(paths.home / "store-ca.pem", authority.issued.certificate, 0o644)
        write_atomically(paths.home / "store.pem", issued.certificate, 0o644)
        write_atomically(paths.secrets / "store.key", issued.key)
    seed(paths.services)
    postgres.make(paths)


def _start_missing(paths: DevlabPaths, ports: Mapping[str, int], say: Callable[[str], None]) -> None:
    running = _running(paths)
    for name in parts.NAMES:
        if name in running:
            continue
        if name in ("ui", "daemon"):
            _prepare_dagster(paths)
        pid = start_detached(parts.command(name, paths, ports), paths.logs / f"{name}.log")
        write_atomically(paths.run / f"{name}.process", name_of(pid).encode())
        say(f"started {name}")
        if name == "postgres":
            _await(paths, ports, [name])
            postgres.fill(postgres.server(paths), (paths.secrets / "gitlab-token").read_text(encoding="utf-8").strip())


def _prepare_dagster(paths: DevlabPaths) -> None:
    """Make Dagster's storage before its two processes do so at once."""
    if not (paths.dagster / "storage").exists():
        from backup_orchestration.cli.runs import prepare
        from backup_orchestration.homelab.load import load

        prepare(load(paths.settings))


def _await(paths: DevlabPaths, ports: Mapping[str, int], names: Sequence[str] = parts.NAMES) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while silent := [name for name in names if not parts.answers(name, paths, ports)]:
        dead = set(names) - set(_running(paths))
        if dead or time.monotonic() > deadline:
            name = sorted(dead or silent)[0]
            raise HomelabError(
                f"{name} {'has ended' if dead else 'does not answer'}", remedy=f"see {paths.logs / f'{name}.log'}"
            )
        time.sleep(_POLL_SECONDS)


def _running(paths: DevlabPaths) -> dict[str, str]:
    found = {path.stem: path.read_text(encoding="ascii") for path in sorted(paths.run.glob("*.process"))}
    return {name: process for name, process in found.items() if is_alive(process)}


def _ports(paths: DevlabPaths) -> dict[str, int]:
    """The ports of this lab: the ones it had, unless somebody else has taken them meanwhile, and those it lacks."""
    saved = _saved_ports(paths)
    kept = saved if _running(paths) or all(map(_is_free, saved.values())) else {}
    with_sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in parts.PORTS if name not in kept}
    ports = kept | {name: int(server.getsockname()[1]) for name, server in with_sockets.items()}
    for server in with_sockets.values():
        server.close()
    write_atomically(paths.home / "ports.json", json.dumps(ports).encode())
    return ports


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _saved_ports(paths: DevlabPaths) -> dict[str, int]:
    try:
        return dict(json.loads((paths.home / "ports.json").read_text(encoding="ascii")))
    except FileNotFoundError:
        return {}
