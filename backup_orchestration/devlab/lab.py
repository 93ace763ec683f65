"""`homelab devlab up`, `down`, `status`: the example lab's processes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from backup_orchestration.core import settings as settings_file
from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, start_detached
from backup_orchestration.core.errors import HomelabError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.private_files import private_directory, write_atomically
from backup_orchestration.core.processes import is_alive, name_of, stop_sessions
from backup_orchestration.devlab import templates
from backup_orchestration.devlab.certificates import Authority
from backup_orchestration.devlab.needs import RCLONE
from backup_orchestration.devlab.paths import DevlabPaths
from backup_orchestration.devlab.seed import seed

_MARK = ".homelab-devlab"
_PORTS = ("store", "services", "ui")
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
    stop_sessions(list(_running(paths).values()), _DOWN_SECONDS)
    shutil.rmtree(paths.run, ignore_errors=True)
    if purge and paths.home.exists():
        shutil.rmtree(paths.home)
        # The directory above is ours as well when nothing else is in it.
        if not any(paths.home.parent.iterdir()):
            paths.home.parent.rmdir()


def is_up(paths: DevlabPaths) -> bool:
    """Whether every process runs and answers."""
    ports = _saved_ports(paths)
    return bool(ports) and set(_running(paths)) == set(_processes(paths, ports)) and not _silent(paths, ports)


def describe(paths: DevlabPaths) -> dict[str, Any]:
    """What `status --json` prints."""
    ports = _saved_ports(paths)
    services = {
        "certs": {"path": str(paths.services / "certs"), "url": None, "real": False},
        "grafana": {"path": str(paths.services / "grafana"), "url": None, "real": False},
        "gitlab": {"path": str(paths.services / "gitlab"), "url": None, "real": False},
        "meilisearch": {"path": str(paths.services / "meilisearch"), "url": _url(ports, "services"), "real": False},
    }
    return {
        "home": str(paths.home),
        "settings": str(paths.settings),
        "store": {"endpoint": f"https://localhost:{ports['store']}" if ports else None, "path": str(paths.store)},
        "ui_url": _url(ports, "ui"),
        "services": services,
    }


def environment(paths: DevlabPaths) -> Mapping[str, str]:
    """What a `homelab` command needs to find this lab and its tools."""
    kept = ("HOMELAB_TOOLS", "XDG_DATA_HOME", "LANG", "SSL_CERT_FILE")
    passed = {key: os.environ[key] for key in kept if key in os.environ}
    return {**passed, settings_file.VARIABLE: str(paths.settings)}


def _require_ours(paths: DevlabPaths) -> None:
    if paths.home.exists() and any(paths.home.iterdir()) and not (paths.home / _MARK).exists():
        raise HomelabError(f"{paths.home} was not made by the lab", remedy="move it away; nothing was changed")


def _make(paths: DevlabPaths) -> None:
    for directory in (paths.secrets, paths.services, paths.store / "backups", paths.logs, paths.run):
        private_directory(directory)
    for name in ("backup-password", "evidence-key", "access-key", "secret-key", "meilisearch-key"):
        if not (paths.secrets / name).exists():
            write_atomically(paths.secrets / name, f"{secrets.token_hex(20)}\n".encode())
    if not (paths.secrets / "store.key").exists():
        authority = Authority("Lab Store CA")
        issued = authority.issue("localhost", ["localhost", "127.0.0.1"])
        write_atomically(paths.home / "store-ca.pem", authority.issued.certificate, 0o644)
        write_atomically(paths.home / "store.pem", issued.certificate, 0o644)
        write_atomically(paths.secrets / "store.key", issued.key)
    seed(paths.services)


def _processes(paths: DevlabPaths, ports: Mapping[str, int]) -> dict[str, Command]:
    python = sys.executable
    key, secret = ((paths.secrets / name).read_text(encoding="utf-8").strip() for name in ("access-key", "secret-key"))
    dagster = {**environment(paths), "DAGSTER_HOME": str(paths.dagster)}
    module = ("-m", "backup_orchestration.definitions")
    store = (
        *("serve", "s3", "--addr", f"127.0.0.1:{ports['store']}", "--vfs-cache-mode", "off"),
        *("--cert", str(paths.home / "store.pem"), "--key", str(paths.secrets / "store.key"), str(paths.store)),
    )
    services = "backup_orchestration.devlab.services"
    web = "from dagster_webserver.cli import main; main()"
    daemon = "from dagster._daemon.cli import main; main()"
    return {
        # rclone takes its keys by flag or environment only; the flag would be seen by everybody.
        "store": Command(
            [str(tools.find(RCLONE).path), *store], 0, {"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_CONFIG": ""}
        ),
        "services": Command([python, "-m", services, str(paths.home), str(ports["services"])], 0),
        "ui": Command([python, "-c", web, "-h", "127.0.0.1", "-p", str(ports["ui"]), *module], 0, dagster, paths.home),
        "daemon": Command([python, "-c", daemon, "run", *module], 0, dagster, paths.home),
    }


def _start_missing(paths: DevlabPaths, ports: Mapping[str, int], say: Callable[[str], None]) -> None:
    running = _running(paths)
    for name, command in _processes(paths, ports).items():
        if name in running:
            continue
        if name in ("ui", "daemon"):
            _prepare_dagster(paths)
        pid = start_detached(command, paths.logs / f"{name}.log")
        write_atomically(paths.run / f"{name}.process", name_of(pid).encode())
        say(f"started {name}")


def _prepare_dagster(paths: DevlabPaths) -> None:
    """Make Dagster's storage before its two processes do so at once."""
    if not (paths.dagster / "storage").exists():
        from backup_orchestration.cli.runs import prepare
        from backup_orchestration.homelab.load import load

        prepare(load(paths.settings))


def _await(paths: DevlabPaths, ports: Mapping[str, int]) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while silent := _silent(paths, ports):
        dead = set(_processes(paths, ports)) - set(_running(paths))
        if dead or time.monotonic() > deadline:
            name = sorted(dead or silent)[0]
            raise HomelabError(
                f"{name} {'has ended' if dead else 'does not answer'}", remedy=f"see {paths.logs / f'{name}.log'}"
            )
        time.sleep(_POLL_SECONDS)


def _silent(paths: DevlabPaths, ports: Mapping[str, int]) -> list[str]:
    """Which of the processes do not answer yet."""
    checks: dict[str, Callable[[], bool]] = {
        "store": lambda: _store_answers(paths, ports["store"]),
        "services": lambda: _get(f"{_url(ports, 'services')}/health") is not None,
        "ui": lambda: _get(f"{_url(ports, 'ui')}/server_info") is not None,
        "daemon": lambda: _daemon_ticks(_url(ports, "ui") or ""),
    }
    return [name for name, answers in checks.items() if not answers()]


def _store_answers(paths: DevlabPaths, port: int) -> bool:
    context = ssl.create_default_context(cafile=str(paths.home / "store-ca.pem"))
    try:
        with socket.create_connection(("localhost", port), timeout=5) as plain:
            context.wrap_socket(plain, server_hostname="localhost").close()
    except OSError:
        return False
    return True


def _daemon_ticks(ui: str) -> bool:
    query = "{instance{daemonHealth{allDaemonStatuses{daemonType required healthy}}}}"
    body = json.dumps({"query": query}).encode()
    answer = _get(f"{ui}/graphql", body)
    if not answer:
        return False
    statuses = json.loads(answer)["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    return all(status["healthy"] for status in statuses if status["required"])


def _get(url: str, body: bytes | None = None) -> bytes | None:
    """What a server on this machine answers; None if it does not."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - loopback
            return bytes(answer.read())
    except (urllib.error.URLError, OSError):
        return None


def _running(paths: DevlabPaths) -> dict[str, str]:
    found = {path.stem: path.read_text(encoding="ascii") for path in sorted(paths.run.glob("*.process"))}
    return {name: process for name, process in found.items() if is_alive(process)}


def _ports(paths: DevlabPaths) -> dict[str, int]:
    """The ports of this lab: the ones it had, unless somebody else has taken them meanwhile."""
    saved = _saved_ports(paths)
    if saved and (_running(paths) or all(map(_is_free, saved.values()))):
        return saved
    with_sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in _PORTS}
    ports = {name: int(server.getsockname()[1]) for name, server in with_sockets.items()}
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


def _url(ports: Mapping[str, int], name: str) -> str | None:
    return f"http://127.0.0.1:{ports[name]}" if ports else None
