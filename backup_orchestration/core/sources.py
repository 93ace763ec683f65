"""What a policy protects: a directory tree, a database, or what a command prints or writes.

A source only says where the data is. How it is captured is `providers/capture.py`.
"""

from __future__ import annotations

import fnmatch
import re
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_GLOB = re.compile(r"[^\[\]{}\\!\n]+")


def tuple_of(value: object) -> object:
    """For fields that are tuples: a list, as TOML and people write it, is taken too."""
    return tuple(value) if isinstance(value, list) else value


class Frozen(BaseModel):
    """Base of everything a person declares: immutable, strict, unknown fields refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def _to_path(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{str(path)!r} is not an absolute path; write it from / on")
    if ".." in path.parts:
        raise ValueError(f"{str(path)!r} contains '..'; write the path it means")
    path = Path("/", *path.parts[1:])  # POSIX keeps two leading slashes apart, Linux does not
    if path == Path("/"):
        raise ValueError("'/' is the whole machine; name the directories to protect")
    return path


AbsolutePath = Annotated[Path, BeforeValidator(_to_path), AfterValidator(_absolute)]


def _exclusion(pattern: str) -> str:
    if not pattern or not _GLOB.fullmatch(pattern):
        raise ValueError(f"{pattern!r}: only names, absolute paths, '*' and '?' can be excluded")
    if "/" in pattern and (not pattern.startswith("/") or set(pattern) & set("*?")):
        raise ValueError(f"{pattern!r}: a pattern with '/' must be one absolute path without wildcards")
    return pattern


Exclusion = Annotated[str, AfterValidator(_exclusion)]


class BaseSource(Frozen):
    """What all sources have in common.

    Attributes:
        has_manifest: a manifest is stored with it, which also holds what probes want remembered.
    """

    has_manifest: ClassVar[bool] = True

    @property
    def canary_database(self) -> str | None:
        """The database of its own server that holds what probes want remembered, see `core.canary`."""
        return None

    @property
    def paths(self) -> tuple[Path, ...]:
        """What it reads on this host, as far as that is known."""
        return ()

    @property
    def summary(self) -> str:
        """For people: where the data is."""
        return ", ".join(map(str, self.paths))


class Files(BaseSource):
    """A file or a directory tree, captured in place.

    Attributes:
        path: absolute path; symbolic links inside are kept as links.
        exclude: names (`*.tmp`, `cache`), matched at any depth, or absolute paths, exact.
    """

    kind: Literal["files"] = "files"
    path: AbsolutePath
    exclude: Annotated[tuple[Exclusion, ...], BeforeValidator(tuple_of)] = ()

    @model_validator(mode="after")
    def _keeps_its_root(self) -> Self:
        # restic before 0.19 matches names against the parents of the root too: the source would be empty.
        for part in (self.path, *self.path.parents):
            if self.excludes(PurePosixPath(part)):
                raise ValueError(f"exclude: a pattern matches {str(part)!r} and would leave nothing of {self.path}")
        return self

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `BaseSource`."""
        return (self.path,)

    def excludes(self, path: PurePosixPath) -> bool:
        """Whether this path itself is excluded (its parents are the caller's walk)."""
        return any(
            path == PurePosixPath(pattern) if "/" in pattern else fnmatch.fnmatchcase(path.name, pattern)
            for pattern in self.exclude
        )


class Sqlite(BaseSource):
    """One SQLite database, captured through SQLite's backup API, also while it is written.

    Attributes:
        path: absolute path of the main database file; `-wal` and `-shm` are SQLite's business.
    """

    kind: Literal["sqlite"] = "sqlite"
    path: AbsolutePath

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `BaseSource`."""
        return (self.path,)


class Dump(BaseSource):
    """What a command prints, e.g. a database dump. The command failing, or printing nothing, is a failure.

    Attributes:
        command: argument list; no shell is involved. The command inherits PATH, HOME and nothing secret.
        filename: name of the file the output is stored as.
    """

    has_manifest: ClassVar[bool] = False
    kind: Literal["dump"] = "dump"
    command: Annotated[tuple[str, ...], BeforeValidator(tuple_of), Field(min_length=1)]
    filename: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

    @property
    def summary(self) -> str:
        """See `BaseSource`."""
        return " ".join(self.command)


class Export(BaseSource):
    """What a command writes into the directory it is started in, e.g. by asking a service's API for a dump.

    Attributes:
        command: argument list; no shell is involved. It inherits PATH, HOME and nothing secret: give it the
            names of files that hold what it needs.
        timeout: how long it may take, in seconds.
    """

    kind: Literal["export"] = "export"
    command: Annotated[tuple[str, ...], BeforeValidator(tuple_of), Field(min_length=1)]
    timeout: Annotated[float, Field(gt=0)] = 3600.0

    @property
    def summary(self) -> str:
        """See `BaseSource`."""
        return " ".join(self.command)


class Postgres(BaseSource):
    """A whole PostgreSQL cluster, backed up physically while it runs.

    Attributes:
        data: absolute path of its data directory; who owns it, runs the backup.
        socket: absolute path of the directory of its Unix socket.
        port: that names the socket.
        user: role to connect as; a superuser.
        backup: `full`, or `diff` or `incr`: what changed since the last full, or since the last backup of any kind.
        full_every: with `diff` and `incr`, how old the last full may be before another one is taken.
    """

    has_manifest: ClassVar[bool] = False
    kind: Literal["postgres"] = "postgres"
    data: AbsolutePath
    socket: AbsolutePath = Path("/var/run/postgresql")
    port: Annotated[int, Field(gt=0, lt=65536)] = 5432
    user: str = "postgres"
    backup: Literal["full", "diff", "incr"] = "full"
    full_every: timedelta = timedelta(days=7)

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `BaseSource`."""
        return (self.data,)

    @property
    def canary_database(self) -> str | None:
        """See `BaseSource`."""
        return "postgres"


def _host(value: str) -> str:
    if not re.fullmatch(r"/[^,\s]*|[A-Za-z0-9][A-Za-z0-9.:_-]*", value):
        raise ValueError(f"{value!r} is neither a host name nor the absolute path of a socket's directory")
    return value


def _dump_option(value: str) -> str:
    if not re.fullmatch(r"--((exclude|no)-[a-z-]+|compress|lock-wait-timeout)(=.*)?", value):
        raise ValueError(f"{value!r}: only --exclude-…, --no-…, --compress=… and --lock-wait-timeout=… can be given")
    return value


class PgDump(BaseSource):
    """One PostgreSQL database, as pg_dump prints it in its custom format.

    Attributes:
        database: its name.
        host: name of its host, or absolute path of the directory of its Unix socket.
        port: of the server.
        user: role to connect as. It must be able to read everything, and to make the schema `homelab` in the database.
        passfile: absolute path of a password file of libpq's (`host:port:database:user:password`), mode 0600.
        options: further options of pg_dump, e.g. `--exclude-table-data=audit.*`.
    """

    has_manifest: ClassVar[bool] = False
    kind: Literal["pg_dump"] = "pg_dump"
    database: Annotated[str, Field(pattern=r"^[^\x00-\x1f]*[^\x00-\x1f.-][^\x00-\x1f]*$", max_length=63)]
    host: Annotated[str, AfterValidator(_host)] = "/var/run/postgresql"
    port: Annotated[int, Field(gt=0, lt=65536)] = 5432
    user: Annotated[str, Field(min_length=1)] = "postgres"
    passfile: AbsolutePath | None = None
    options: Annotated[tuple[Annotated[str, AfterValidator(_dump_option)], ...], BeforeValidator(tuple_of)] = ()

    @property
    def filename(self) -> str:
        """Name of the file that it is stored as."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.database).lstrip(".-") + ".dump"

    @property
    def canary_database(self) -> str | None:
        """See `BaseSource`."""
        return self.database

    @property
    def summary(self) -> str:
        """See `BaseSource`."""
        return f"database {self.database} at {self.host}, port {self.port}"


Source = Annotated[Files | Sqlite | Dump | Export | Postgres | PgDump, Field(discriminator="kind")]
