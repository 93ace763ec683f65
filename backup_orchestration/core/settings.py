"""homelab.toml: every field, its default, and how it is refused.

Relative paths are relative to the settings file. The model is the reference; `homelab init` writes it out.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from backup_orchestration.core.destination import DestinationSettings
from backup_orchestration.core.errors import SettingsError
from backup_orchestration.core.frozen import Frozen, tuple_of
from backup_orchestration.core.places import PlaceSettings
from backup_orchestration.core.policy import Name
from backup_orchestration.core.secrets import SecretRef

FILENAME = "homelab.toml"
VARIABLE = "HOMELAB_SETTINGS"
DEVLAB_SETTINGS = Path(".homelab") / "devlab" / FILENAME


def _path(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


SettingsPath = Annotated[Path, BeforeValidator(_path)]
Paths = Annotated[tuple[SettingsPath, ...], BeforeValidator(tuple_of)]
References = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(tuple_of)]


class EvidenceSettings(PlaceSettings):
    """`[evidence]`: a place beside the backups, so that it survives this machine.

    Attributes:
        key: what authenticates it; must not lie in the evidence's or a destination's location.
    """

    key: SecretRef


class NotificationSettings(Frozen):
    """`[notifications.NAME]`: a webhook that alerts are posted to, as JSON.

    Attributes:
        url: where the webhook's URL comes from; it usually holds a token.
    """

    url: SecretRef


class Settings(Frozen):
    """homelab.toml.

    Attributes:
        contributors: what declares policies: `module.path`, `./file.py`, each with an optional `:name`
            (default `contributor`). Installed packages add theirs by entry point without being named here.
        providers, probes: further ones, named alike (default names `provider` and `probe`).
        home: state of this installation: Dagster's home, staging, labs, caches, locks.
        secrets: the secrets directory, for secrets given by `name`.
        restore_roots: directories below which `restore --in-place` may replace what is there.
        destinations: where repositories are kept; a policy without a destination uses `default`.
        evidence: where evidence is kept.
        notifications: where alerts go.
    """

    contributors: References = ()
    providers: References = ()
    probes: References = ()
    home: SettingsPath = Path(".homelab")
    secrets: SettingsPath = Path("secrets")
    restore_roots: Paths = ()
    destinations: Mapping[Name, DestinationSettings]
    evidence: EvidenceSettings
    notifications: Mapping[Name, NotificationSettings] = Field(default_factory=dict)


def find(environment: Mapping[str, str] | None = None, directory: Path | None = None) -> Path:
    """The settings file: `HOMELAB_SETTINGS`, else `./homelab.toml`, else the devlab of this directory.

    Raises:
        SettingsError: there is none.
    """
    env = os.environ if environment is None else environment
    here = Path.cwd() if directory is None else directory
    if named := env.get(VARIABLE):
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise SettingsError(f"{path}, named by {VARIABLE}, does not exist", remedy=f"correct {VARIABLE}")
        return path
    for path in (here / FILENAME, here / DEVLAB_SETTINGS):
        if path.is_file():
            return path
    raise SettingsError(
        f"no settings: there is no {FILENAME} in {here}",
        remedy=f"write one with `homelab init`, or name one in {VARIABLE}",
    )


def read(path: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        SettingsError: it cannot be read, is not TOML, or a field is wrong; names file, field and remedy.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}", remedy="see its owner and mode") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}", remedy="correct that line") from error
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        message, remedy = explain(path, error)
        raise SettingsError(message, remedy=remedy) from None


def explain(place: object, error: ValidationError) -> tuple[str, str]:
    """One message for everything a model refuses, and the remedy for the first of it; values are not repeated."""
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in item["loc"]) or "(whole)"
        lines.append(f"{field}: {_plain(item)}")
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    remedies = {
        "extra_forbidden": f"remove {field}, or correct its spelling",
        "missing": f"add {field}",
    }
    return f"{place}: {'; '.join(lines)}", remedies.get(first["type"], f"correct {field or 'it'}")


def _plain(item: ErrorDetails) -> str:
    """What is wrong, in the words of TOML where pydantic speaks of Python."""
    wanted = item.get("ctx", {}).get("class") or item.get("ctx", {}).get("class_name")
    if wanted == "SecretRef":
        return 'say where the secret comes from, e.g. { file = "PATH" }; the secret itself never stands here'
    if wanted == "Path":
        return "Input should be a path, as text"
    if item["type"] == "tuple_type":
        return "Input should be a list"
    return item["msg"].removeprefix("Value error, ")
