"""What pgBackRest's configuration says: where the repository is, how it is opened, which cluster is meant.

Secrets reach pgBackRest by this file only: 0600, of the user it runs as.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from backup_orchestration.core import tools
from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import SecretError, SettingsError
from backup_orchestration.core.places import Bucket, Directory, Place
from backup_orchestration.core.secrets import SecretRef, Secrets
from backup_orchestration.core.sources import Postgres
from backup_orchestration.providers.access import secret_file

FILENAME = "pgbackrest.conf"

# Before it, a host is looked for in a certificate by name only.
_ADDRESSES_SINCE = (2, 53)
_ARCHIVE_SECONDS = 60

# `retention-full` is the documented maximum: pgBackRest keeps all, and what goes is decided elsewhere.
_GENERAL = {
    "repo1-bundle": "y",
    "repo1-retention-full": "9999999",
    "compress-type": "zst",
    "start-fast": "y",
    "expire-auto": "n",
    "archive-timeout": str(_ARCHIVE_SECONDS),
    "log-level-console": "off",
    "log-level-file": "off",
    "log-level-stderr": "error",
}


def text(stanza: str, repository: Mapping[str, str], cluster: Mapping[str, str], work: Path) -> str:
    """A configuration file.

    Args:
        stanza: its name.
        repository, cluster: their options.
        work: directory for locks and spool.
    """
    paths = {"lock-path": str(work / "lock"), "spool-path": str(work / "spool")}
    options = {**_GENERAL, "process-max": str(min(4, os.cpu_count() or 1)), **paths, **repository}
    return "\n".join(["[global]", *_lines(options), "", f"[{stanza}]", *_lines(cluster), ""])


def cluster(source: Postgres) -> Mapping[str, str]:
    """Options by which the cluster of a policy is reached."""
    return {
        "pg1-path": str(source.data),
        "pg1-socket-path": str(source.socket),
        "pg1-port": str(source.port),
        "pg1-user": source.user,
    }


def repository(place: Place, destination: Destination, secrets: Secrets) -> Mapping[str, str]:
    """Options by which the repository is opened, secrets among them.

    Raises:
        SecretError: one is missing, or cannot stand in the file.
    """
    found = {name: _secret(secrets, ref, what) for name, (ref, what) in _secrets(place, destination).items()}
    return {**_plain(place), **found}


def refuse_address(place: Place, tool: tools.Tool) -> None:
    """Refuse an endpoint that is an IP address where pgBackRest cannot hold it against a certificate.

    Raises:
        SettingsError: names the field and the version that could.
    """
    if isinstance(place, Directory) or tool.version >= _ADDRESSES_SINCE:
        return
    host = urlsplit(place.endpoint).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return
    raise SettingsError(
        f"{place.name}.endpoint: {tool} cannot check the certificate of an address, {host}",
        remedy=f"write the store's name, or install pgbackrest {tools.dotted(_ADDRESSES_SINCE)} or newer",
    )


def writing_command(place: Place, destination: Destination, secrets: Secrets) -> str:
    """A shell line that writes ./pgbackrest.conf, by which the tool alone opens a repository."""
    lines = ["'[global]'", "log-level-file=off", *(f'{name}-path="$PWD/{name}"' for name in ("lock", "spool"))]
    lines += map(shlex.quote, _lines(_plain(place)))
    for name, (ref, what) in _secrets(place, destination).items():
        lines.append(f'{name}="$(cat {shlex.quote(secret_file(secrets, ref, what))})"')
    # A shell's own `printf`: no other process sees what it is given.
    return f"(umask 077; printf '%s\\n' {' '.join(lines)} >pgbackrest.conf)"


def _plain(place: Place) -> dict[str, str]:
    """Options that hold no secret."""
    cipher = {"repo1-cipher-type": "aes-256-cbc"}
    if isinstance(place, Directory):
        return {"repo1-path": str(place.path), **cipher}
    url = urlsplit(place.endpoint)
    options = {
        "repo1-type": "s3",
        "repo1-path": f"/{place.prefix}",
        "repo1-s3-bucket": place.bucket,
        "repo1-s3-endpoint": url.hostname or "",
        "repo1-storage-port": str(url.port or 443),
        "repo1-s3-region": place.region,
        "repo1-s3-uri-style": "path",
        **cipher,
    }
    return {**options, "repo1-storage-ca-file": str(place.ca)} if place.ca else options


def _secrets(place: Place, destination: Destination) -> Mapping[str, tuple[SecretRef, str]]:
    """Options that are secrets: where each comes from, and what it is for."""
    found = {"repo1-cipher-pass": (destination.password, f"destinations.{destination.name}.password")}
    if isinstance(place, Bucket):
        found["repo1-s3-key"] = (place.access_key, f"{place.name}.access_key")
        found["repo1-s3-key-secret"] = (place.secret_key, f"{place.name}.secret_key")
    return found


def _secret(secrets: Secrets, ref: SecretRef, what: str) -> str:
    value = secrets.value(ref, what)
    if "\n" in value or "\r" in value:
        raise SecretError(f"{what}: pgBackRest takes a secret of one line only", remedy="choose another secret")
    return value


def _lines(options: Mapping[str, str]) -> Iterator[str]:
    return (f"{key}={value}" for key, value in options.items())
