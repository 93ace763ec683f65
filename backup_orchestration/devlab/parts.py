"""The processes that an example lab consists of: what is run, and whether it answers."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from backup_orchestration.core import settings as settings_file
from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command
from backup_orchestration.devlab import gitlab_api, objects, postgres, radicale
from backup_orchestration.devlab.needs import RCLONE
from backup_orchestration.devlab.paths import DevlabPaths
from backup_orchestration.homelab.load import load
from backup_orchestration.providers.pgbackrest import PgBackRestRepository

PORTS = ("store", "objects", "radicale", "gitlab", "services", "ui")
PLAYED = ("services", "radicale", "objects")  # ports that the process of that name is given
_TLS = ("store", "objects")
_DATABASE = "gitlab/postgres"
_SERVICES = "backup_orchestration.devlab.services"
# In this order: each may need those before it.
NAMES = ("store", "objects", "postgres", "radicale", "gitlab", "services", "ui", "daemon")


def environment(paths: DevlabPaths) -> Mapping[str, str]:
    """What a `homelab` command needs to find this lab and its tools."""
    kept = ("HOMELAB_TOOLS", "XDG_DATA_HOME", "LANG", "SSL_CERT_FILE")
    passed = {key: os.environ[key] for key in kept if key in os.environ}
    return {**passed, settings_file.VARIABLE: str(paths.settings)}


def command(name: str, paths: DevlabPaths, ports: Mapping[str, int]) -> Command:
    """The program of this name.

    Raises:
        ToolMissingError: it is not on this machine.
    """
    python = sys.executable
    dagster = {**environment(paths), "DAGSTER_HOME": str(paths.dagster)}
    module = ("-m", "backup_orchestration.definitions")
    web = "from dagster_webserver.cli import main; main()"
    daemon = "from dagster._daemon.cli import main; main()"
    makers: dict[str, Callable[[], Command]] = {
        "store": lambda: _store(paths, ports["store"], paths.store, ("access-key", "secret-key")),
        "objects": lambda: _store(
            paths, ports["objects"], paths.services / "minio", (objects.ACCESS_KEY, objects.SECRET_KEY)
        ),
        "postgres": lambda: postgres.command(paths, _archive(paths)),
        "radicale": lambda: radicale.command(paths.services / "radicale", ports["radicale"]),
        "gitlab": lambda: Command([python, "-P", *_gitlab(paths, ports["gitlab"])], 0),
        "services": lambda: Command(
            [python, "-m", _SERVICES, str(paths.home), *(str(ports[name]) for name in PLAYED)],
            0,
            environment(paths),
        ),
        "ui": lambda: Command(
            [python, "-c", web, "-h", "127.0.0.1", "-p", str(ports["ui"]), *module], 0, dagster, paths.home
        ),
        "daemon": lambda: Command([python, "-c", daemon, "run", *module], 0, dagster, paths.home),
    }
    return makers[name]()


def _archive(paths: DevlabPaths) -> Mapping[str, str]:
    """Settings by which the server archives its WAL, unless the lab's policies have been changed to do without."""
    homelab = load(paths.settings)
    repository = homelab.repository(_DATABASE) if _DATABASE in homelab.policies else None
    return repository.archive_settings() if isinstance(repository, PgBackRestRepository) else {}


def _gitlab(paths: DevlabPaths, port: int) -> list[str]:
    database = postgres.server(paths)
    where = (str(database.programs.directory), str(database.socket), str(database.port), database.user)
    return ["-m", gitlab_api.__name__, str(port), *where]


def _store(paths: DevlabPaths, port: int, directory: Path, names: tuple[str, str]) -> Command:
    key, secret = ((paths.secrets / name).read_text(encoding="utf-8").strip() for name in names)
    options = (
        *("serve", "s3", "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off"),
        *("--cert", str(paths.home / "store.pem"), "--key", str(paths.secrets / "store.key"), str(directory)),
    )
    # rclone takes its keys by flag or environment only; the flag would be seen by everybody.
    keys = {"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_CONFIG": ""}
    return Command([str(tools.find(RCLONE).path), *options], 0, keys)


def answers(name: str, paths: DevlabPaths, ports: Mapping[str, int]) -> bool:
    """Whether the program of this name does its work."""
    checks: dict[str, Callable[[], bool]] = {
        "store": lambda: _store_answers(paths, ports["store"]),
        "objects": lambda: _store_answers(paths, ports["objects"]),
        "postgres": lambda: postgres.answers(paths),
        "radicale": lambda: _get(f"{url(ports, 'radicale')}/.web/") is not None,
        "gitlab": lambda: _get(f"{url(ports, 'gitlab')}{gitlab_api.HEALTH}") is not None,
        "services": lambda: _get(f"{url(ports, 'services')}/health") is not None,
        "ui": lambda: _get(f"{url(ports, 'ui')}/server_info") is not None,
        "daemon": lambda: _daemon_ticks(url(ports, "ui") or ""),
    }
    return checks[name]()


def url(ports: Mapping[str, int], name: str) -> str | None:
    """Where it answers; None while the lab has no port of that name."""
    if name not in ports:
        return None
    return f"https://localhost:{ports[name]}" if name in _TLS else f"http://127.0.0.1:{ports[name]}"


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
