"""`homelab init`: a homelab.toml that explains every field, and the secrets it needs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from backup_orchestration.cli.show import say
from backup_orchestration.core.errors import SettingsError
from backup_orchestration.core.private_files import private_directory, write_atomically
from backup_orchestration.core.settings import FILENAME

_TEMPLATE = """\
# Settings of this homelab. Relative paths are relative to this file. Unknown fields are refused.

# What declares the backup policies: "./file.py" or "package.module", each with an optional ":name" (default
# "contributor"). Installed packages may add theirs by entry point. Default: [].
contributors = ["./services.py"]

# Further providers and probes, named alike (default names "provider" and "probe"). Default: [].
# providers = ["./my_provider.py"]
# probes = ["./my_probe.py"]

# State of this installation: Dagster's home, staging, throwaway labs, caches, locks. Default: ".homelab".
# home = ".homelab"

# Directory of the secrets that are given by name. Default: "secrets".
# secrets = "secrets"

# Directories below which `homelab backup restore --in-place` may replace what is there. Default: [], so nowhere.
# restore_roots = ["/srv"]

# Where repositories are kept, one for each target; a policy without a destination uses "default". Better on
# another disk or another machine than the data.
[destinations.default]
location = {backups}
# For a bucket: location = "s3://bucket/prefix", and these. The keys are given like the password; `ca` is a file with
# the certificates that the endpoint's is checked by. Defaults: region "us-east-1", ca the system's certificates.
# endpoint = "https://s3.example.org:9000"
# region = "us-east-1"
# ca = "s3-ca.pem"
# access_key = {{ file = "secrets/s3-access-key" }}
# secret_key = {{ file = "secrets/s3-secret-key" }}
# One of: file = "PATH", name = "FILE IN THE SECRETS DIRECTORY", command = ["PROGRAM", "ARGUMENT"], or env = "NAME"
# (NAME_FILE and NAME_COMMAND are honoured first). The secret itself never stands here. No default.
password = {{ file = "secrets/backup-password" }}

# Seconds for which a store that fails is asked again before it is given up. Default: 300.
# patience = 300

# Where evidence of restore tests is kept, and the key that authenticates it. Keep evidence beside the backups and the
# key away from them. No defaults.
[evidence]
location = {evidence}
# For a bucket, as above:
# endpoint = "https://s3.example.org:9000"
# region = "us-east-1"
# ca = "s3-ca.pem"
# access_key = {{ file = "secrets/s3-access-key" }}
# secret_key = {{ file = "secrets/s3-secret-key" }}
# patience = 300
key = {{ file = "secrets/evidence-key" }}

# Webhooks that alerts are posted to, while `homelab backup run --schedule` runs. Default: none.
# [notifications.phone]
# url = {{ file = "secrets/notification-url" }}
"""


def write_settings(directory: Path, backups: Path) -> None:
    """Write the settings and the secrets into a directory.

    Raises:
        SettingsError: there are settings already, or a secret's file is there.
    """
    settings = directory / FILENAME
    keys = [directory / "secrets" / "backup-password", directory / "secrets" / "evidence-key"]
    for path in (settings, *keys):
        if os.path.lexists(path):
            raise SettingsError(
                f"{path} is there already", remedy="nothing was changed; edit it, or choose another folder"
            )
    private_directory(directory / "secrets")
    for path in keys:
        write_atomically(path, f"{secrets.token_urlsafe(32)}\n".encode())
    text = _TEMPLATE.format(backups=_quoted(backups), evidence=_quoted(backups / "evidence"))
    write_atomically(settings, text.encode(), 0o644)
    say(f"wrote {settings}")
    say("wrote secrets/backup-password and secrets/evidence-key, readable by you alone")
    say("keep a copy of secrets/ on another machine: without it no backup can be read")
    say('next: declare what to protect in services.py (README, "Protect a service of your own")')


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
