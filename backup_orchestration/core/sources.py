"""What a policy protects: a directory tree, a database, a bucket, or what a command prints or writes.

A source only says where the data is. How it is captured is `providers/capture.py`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from backup_orchestration.core import places
from backup_orchestration.core.frozen import Frozen, tuple_of
from backup_orchestration.core.secrets import SecretRef

_GLOB = re.compile(r"[^\[\]{}\\!\n]+")


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
    def secrets(self) -> Mapping[str, SecretRef]:
        """Where the secrets come from that it is read with, by field."""
        return {}

    def holds(self, place: places.Place) -> bool:
        """Whether a place lies in what is captured, as far as `paths` do not say so."""
        return False

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


class Bucket(BaseSource):
    """The objects of an S3 bucket: keys byte for byte, bytes, content type, user metadata and tags.

    Attributes:
        endpoint: e.g. `https://minio.lab.example:9000`; no path.
        bucket: its name.
        access_key, secret_key: where they come from; listing and reading is all they must allow.
        prefix: only objects whose keys begin so, e.g. `uploads/`; they keep their whole keys. Default: all.
        region: of the bucket.
        ca: absolute path of the certificates that the endpoint's is checked by; default: the system's.
        patience: seconds for which a store that fails is asked again before it is given up.
        least_share: a bucket with fewer objects than this share of those in the newest snapshot is not backed up, for
            somebody may have emptied it.
        engine: what copies: `own`, or `mc`, MinIO's `mc mirror`, whose copies are compared all the same, and made anew
            where they lack something.
    """

    has_manifest: ClassVar[bool] = False
    kind: Literal["bucket"] = "bucket"
    endpoint: places.Endpoint
    bucket: places.BucketName
    access_key: SecretRef
    secret_key: SecretRef
    prefix: Annotated[str, Field(max_length=1024)] = ""
    region: str = "us-east-1"
    ca: AbsolutePath | None = None
    patience: Annotated[float, Field(ge=1)] = places.PATIENCE_SECONDS
    least_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    engine: Literal["own", "mc"] = "own"

    @model_validator(mode="after")
    def _is_a_folder_for_mc(self) -> Self:
        if self.engine == "mc" and self.prefix and not self.prefix.endswith("/"):
            raise ValueError(
                f"prefix: mc copies folders, and {self.prefix!r} is none; end it with '/', or leave engine away"
            )
        return self

    @property
    def secrets(self) -> Mapping[str, SecretRef]:
        """See `BaseSource`."""
        return {"access_key": self.access_key, "secret_key": self.secret_key}

    @property
    def summary(self) -> str:
        """See `BaseSource`."""
        return f"bucket {self.bucket} at {self.endpoint}" + (f", below {self.prefix!r}" if self.prefix else "")

    def holds(self, place: places.Place) -> bool:
        """See `BaseSource`."""
        there = (self.endpoint, self.bucket)
        if not isinstance(place, places.Bucket) or (place.endpoint, place.bucket) != there:
            return False
        return f"{place.prefix}/".startswith(self.prefix) or self.prefix.startswith(f"{place.prefix}/")

    def place(self, name: str) -> places.Bucket:
        """The bucket whole, as a place that a store is opened on.

        Args:
            name: of the policy's field, for messages, e.g. `gitlab/lfs: source`.
        """
        return places.Bucket(
            bucket=self.bucket,
            prefix="",
            endpoint=self.endpoint,
            region=self.region,
            ca=self.ca,
            access_key=self.access_key,
            secret_key=self.secret_key,
            name=name,
            patience=self.patience,
        )


Source = Annotated[Files | Sqlite | Dump | Export | Postgres | PgDump | Bucket, Field(discriminator="kind")]
