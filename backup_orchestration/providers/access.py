"""Lines by which a person opens a bucket with a tool of his own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backup_orchestration.core.places import Directory, Place
from backup_orchestration.core.secrets import SecretRef, Secrets


def secret_file(secrets: Secrets, ref: SecretRef, what: str) -> str:
    """Where a person finds a secret."""
    own = secrets.path(ref)
    return str(own) if own else f"<a file with the secret of {what}>"


def access_commands(place: Place, secrets: Secrets, ca_variable: str) -> Iterator[str]:
    """Shell lines before the tool's own; no secret stands in them, and of a directory there are none.

    Args:
        place: to be opened.
        secrets: knows their files.
        ca_variable: by which the tool is told of certificates.
    """
    if isinstance(place, Directory):
        return
    for variable, field in (("AWS_ACCESS_KEY_ID", "access_key"), ("AWS_SECRET_ACCESS_KEY", "secret_key")):
        file = secret_file(secrets, getattr(place, field), f"{place.name}.{field}")
        yield f'export {variable}="$(cat {shlex.quote(file)})"'
    yield f"export AWS_DEFAULT_REGION={shlex.quote(place.region)}"
    if place.ca:
        yield f"export {ca_variable}={shlex.quote(str(place.ca))}"
