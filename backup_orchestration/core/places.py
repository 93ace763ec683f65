"""Where things are kept: a directory of this host, or a prefix of a bucket.

Settings say it as `location`: a path, or `s3://bucket/prefix` with an endpoint and keys.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from backup_orchestration.core.frozen import Frozen
from backup_orchestration.core.secrets import SecretRef

_BUCKET_NAME = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_BUCKET = re.compile(rf"s3://(?P<bucket>{_BUCKET_NAME})(?:/(?P<prefix>[A-Za-z0-9._/-]*))?")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
# A router restarts in less; a person hears of a dead store the same night.
PATIENCE_SECONDS = 300.0
# A store under load may need seconds for an answer; one that needs a minute gives none.
_ANSWER_SECONDS = (5.0, 60.0)
_ATTEMPTS = 3


def _path(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


def _endpoint(value: str) -> str:
    if not _ENDPOINT.fullmatch(value):
        raise ValueError("write https://host or https://host:port, without path, user or password")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]
BucketName = Annotated[str, Field(pattern=rf"^{_BUCKET_NAME}$")]


class PlaceSettings(Frozen):
    """The fields that say where something is kept.

    Attributes:
        location: directory, relative to the settings file; or `s3://bucket/prefix`.
        endpoint: of an S3 location, e.g. `https://s3.example.org:9000`; no path.
        region: of an S3 location.
        ca: file with the certificates that the endpoint's is checked by; default: the system's.
        access_key, secret_key: of an S3 location: where they come from.
        patience: seconds for which a store that fails is asked again before it is given up.
    """

    location: Annotated[str, Field(min_length=1)]
    endpoint: Endpoint | None = None
    region: str = "us-east-1"
    ca: Annotated[Path | None, BeforeValidator(_path)] = None
    access_key: SecretRef | None = None
    secret_key: SecretRef | None = None
    patience: Annotated[float, Field(ge=1)] = PATIENCE_SECONDS

    @model_validator(mode="after")
    def _whole(self) -> Self:
        of_s3 = {name: getattr(self, name) for name in ("endpoint", "access_key", "secret_key")}
        if not self.location.startswith("s3://"):
            extra = [name for name, value in {**of_s3, "ca": self.ca}.items() if value is not None]
            if extra:
                raise ValueError(f"{', '.join(extra)}: only for a location that starts with s3://")
            if "://" in self.location:
                raise ValueError('location: write a directory, or s3://bucket/prefix with endpoint = "https://..."')
            return self
        if not _BUCKET.fullmatch(self.location):
            raise ValueError("location: write s3://bucket or s3://bucket/prefix; the host stands in endpoint")
        missing = [name for name, value in of_s3.items() if value is None]
        if missing:
            raise ValueError(f"{', '.join(missing)}: needed for a location that starts with s3://")
        return self


@dataclass(frozen=True)
class Directory:
    """A directory of this host.

    Attributes:
        patience: see `PlaceSettings`.
    """

    path: Path
    patience: float = field(default=PATIENCE_SECONDS, compare=False)

    def __truediv__(self, name: str) -> Directory:
        return replace(self, path=self.path / name)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Bucket:
    """A prefix of a bucket; `str` is what restic calls it, without credentials.

    Attributes:
        prefix: without slashes at its ends; empty for the whole bucket.
        ca: absolute path.
        name: settings table it comes from, for messages.
        patience: see `PlaceSettings`.
    """

    bucket: str
    prefix: str
    endpoint: str
    region: str
    ca: Path | None
    access_key: SecretRef
    secret_key: SecretRef
    name: str
    patience: float = field(default=PATIENCE_SECONDS, compare=False)

    def __truediv__(self, name: str) -> Bucket:
        return replace(self, prefix=f"{self.prefix}/{name}".strip("/"))

    def __str__(self) -> str:
        return f"s3:{self.endpoint}/{self.bucket}/{self.prefix}".rstrip("/")


Place = Directory | Bucket


def answer_seconds(patience: float) -> float:
    """How long one request may go without a sign of life: three of them within the patience, in bounds."""
    shortest, longest = _ANSWER_SECONDS
    return min(longest, max(shortest, patience / _ATTEMPTS))


def place_of(settings: PlaceSettings, name: str, base: Path) -> Place:
    """The place that settings describe.

    Args:
        settings: checked already.
        name: their table in the settings, e.g. `destinations.default`.
        base: directory of the settings file.
    """
    match = _BUCKET.fullmatch(settings.location)
    if match is None:
        return Directory(Path(os.path.normpath(base / Path(settings.location).expanduser())), settings.patience)
    assert settings.endpoint and settings.access_key and settings.secret_key  # noqa: S101 - the model insists
    return Bucket(
        bucket=match["bucket"],
        prefix=(match["prefix"] or "").strip("/"),
        endpoint=settings.endpoint,
        region=settings.region,
        ca=Path(os.path.normpath(base / settings.ca)) if settings.ca else None,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        name=name,
        patience=settings.patience,
    )
