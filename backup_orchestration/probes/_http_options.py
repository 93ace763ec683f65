"""What the probe `http` can be told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from backup_orchestration.core.frozen import Frozen, tuple_of
from backup_orchestration.core.sources import AbsolutePath

PLACEHOLDERS = ("root", "port", "lab", "socket", "database_port", "database_user", "database_programs")
DATABASE = frozenset(PLACEHOLDERS[3:])

_Scalar = str | int | float | bool | None


def named_in(text: str) -> set[str]:
    """The placeholders in an argument.

    Raises:
        ValueError: a brace stands alone.
    """
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def _argument(text: str) -> str:
    for _, name, form, conversion in Formatter().parse(text):
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            known = ", ".join(f"{{{item}}}" for item in PLACEHOLDERS)
            raise ValueError(f"{{{name}}} is no placeholder; there are {known}, and {{{{ for a brace")
    return text


def _is_there(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise ValueError(f"{path} is not there, or is no file")
    return path


class Credentials(Frozen):
    """Who asks: a secret in the first line of a file, of the restored data or of this host.

    Attributes:
        restored: path in the source.
        file: path on this host, for what cannot be read from the backup: of passwords it should hold only hashes.
        scheme: `basic`: the line is `user:password`; `bearer`: a token; `plain`: the header's whole value.
        header: that carries it.
    """

    restored: AbsolutePath | None = None
    file: Annotated[AbsolutePath | None, AfterValidator(_is_there)] = None
    scheme: Literal["basic", "bearer", "plain"] = "bearer"
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = "Authorization"

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.restored is None) == (self.file is None):
            raise ValueError("give either `restored`, a path in the source, or `file`, a path on this host")
        return self


class Request(Frozen):
    """One request, and what must be answered.

    Attributes:
        path: from / on, percent-encoded, with its query.
        method: e.g. `GET`, `PROPFIND`.
        status: that is expected; redirects are not followed.
        contains: text in the body.
        json_equals: JSON pointer (RFC 6901) to the value that must stand there.
        headers: name to a text that must be part of the answered header.
        credentials: None: it is asked without.
    """

    path: Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$")]
    method: Annotated[str, Field(pattern=r"^[A-Z]+$")] = "GET"
    status: Annotated[int, Field(ge=200, le=599)] = 200
    contains: Annotated[str, Field(min_length=1)] | None = None
    json_equals: Mapping[Annotated[str, Field(pattern=r"^(/.*)?$")], _Scalar] = Field(default_factory=dict)
    headers: Mapping[str, str] = Field(default_factory=dict)
    credentials: Credentials | None = None


class Ready(Frozen):
    """When the application counts as started: it answers a path with anything but a server's error (5xx).

    Attributes:
        path: that is asked, without credentials.
        seconds: that it may take.
    """

    path: Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$")] = "/"
    seconds: Annotated[float, Field(gt=0)] = 60.0


class HttpOptions(Frozen):
    """Options of the probe.

    Attributes:
        command: argument list that starts the application in the foreground, listening on `127.0.0.1:{port}`.
            `{root}`: below it stands every restored path; `{lab}`: an empty directory; `{socket}`, `{database_port}`,
            `{database_user}`: of the PostgreSQL that runs on the restored data, `{database_programs}`: directory of its
            programs.
        requests: at least one.
        ready: when it counts as started.
    """

    command: Annotated[
        tuple[Annotated[str, AfterValidator(_argument)], ...], BeforeValidator(tuple_of), Field(min_length=1)
    ]
    requests: Annotated[tuple[Request, ...], BeforeValidator(tuple_of), Field(min_length=1)]
    ready: Ready = Field(default_factory=Ready)
