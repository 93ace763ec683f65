"""Where a secret comes from, and how a child process gets it: by file, never by argument or environment."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from backup_orchestration.core import commands
from backup_orchestration.core.errors import SecretError, ToolError
from backup_orchestration.core.frozen import Frozen, tuple_of
from backup_orchestration.core.private_files import private_directory, private_file
from backup_orchestration.core.redaction import REDACTOR

_COMMAND_SECONDS = 30.0
_HIDDEN = "homelab-hidden:"


def _no_argument_zero(command: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if command is not None and not command:
        raise ValueError("an empty command gives no secret")
    return command


def _to_path(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


class SecretRef(Frozen):
    """One of four places; the secret itself never stands in the settings.

    Attributes:
        file: path of a file that holds it; relative to the settings file.
        env: name of an environment variable; `<NAME>_FILE` and `<NAME>_COMMAND` are honoured first.
        command: argument list of a command that prints it.
        name: file of this name in the secrets directory.
    """

    file: Annotated[Path | None, BeforeValidator(_to_path)] = None
    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    command: Annotated[tuple[str, ...] | None, BeforeValidator(tuple_of), AfterValidator(_no_argument_zero)] = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [key for key in ("file", "env", "command", "name") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("name exactly one of file, env, command, name")
        return self


class Secrets:
    """Resolves references; every value it has seen is known to the redactor from then on.

    Args:
        base: directory that relative files are looked up from.
        directory: the secrets directory, for `name`.
        environment: where `env` is looked up.
        runtime: private directory for the files that children read.
        hidden: environment variables that are secrets themselves; the commands of other secrets do not inherit them.
    """

    def __init__(
        self,
        base: Path,
        directory: Path,
        environment: Mapping[str, str],
        runtime: Path,
        hidden: Collection[str] = (),
    ) -> None:
        self._base = base
        self._directory = directory
        self._environment = environment
        self._runtime = runtime
        self._inherited = {name: value for name, value in environment.items() if name not in hidden}

    def value(self, ref: SecretRef, what: str) -> str:
        """The secret, without surrounding white space.

        Args:
            ref: where it is.
            what: what it is for, as the settings name it, e.g. `destinations.default.password`.

        Raises:
            SecretError: it is missing, empty or unreadable; names `what`, never the value.
        """
        path = self.path(ref)
        text = _read(path, what) if path else self._from_environment_or_command(ref, what)
        secret = text.strip()
        if not secret:
            raise SecretError(f"{what}: the secret is empty", remedy=f"fill {describe(ref)}")
        REDACTOR.add(secret)
        return secret

    @contextmanager
    def file(self, ref: SecretRef, what: str) -> Iterator[Path]:
        """A file that holds the secret: its own where it has one, else a 0600 copy that lives for the block."""
        secret = self.value(ref, what)
        own = self.path(ref)
        if own:
            yield own
            return
        with self.temporary_file(secret) as path:
            yield path

    @contextmanager
    def temporary_file(self, text: str) -> Iterator[Path]:
        """A 0600 file with this text that lives for the block."""
        with private_file(private_directory(self._runtime), text) as path:
            yield path

    def path(self, ref: SecretRef) -> Path | None:
        """The file the secret lives in, if it lives in one."""
        if ref.file is not None:
            return (self._base / ref.file.expanduser()).absolute()
        if ref.name is not None:
            return self._directory / ref.name
        if ref.env is not None and (indirect := self._environment.get(f"{ref.env}_FILE")):
            return Path(indirect).expanduser().absolute()
        return None

    def is_command(self, ref: SecretRef) -> bool:
        """Whether a command must be run to get it."""
        if ref.env is None:
            return ref.command is not None
        return self.path(ref) is None and bool(self._environment.get(f"{ref.env}_COMMAND"))

    def _from_environment_or_command(self, ref: SecretRef, what: str) -> str:
        if ref.command is not None:
            return _run(ref.command, self._inherited, what)
        assert ref.env is not None  # noqa: S101 - the model holds exactly one
        if indirect := self._environment.get(f"{ref.env}_COMMAND"):
            return _run(("/bin/sh", "-c", indirect), self._inherited, what)
        value = self._environment.get(ref.env)
        if value is None:
            raise SecretError(
                f"{what}: the environment variable {ref.env} is not set",
                remedy=f"set {ref.env}, {ref.env}_FILE or {ref.env}_COMMAND",
            )
        return _read(Path(value.removeprefix(_HIDDEN)), what) if value.startswith(_HIDDEN) else value


def hide(names: Collection[str]) -> None:
    """Take secrets out of this process's environment: any library may start a program, which would inherit them.

    A file in memory holds each instead, which goes with this process. The variable names it from then on, for
    processes of ours that are started later; those of the same user may open it.

    Args:
        names: environment variables that are secrets themselves.
    """
    for name in names:
        value = os.environ.get(name, "")
        if value and not value.startswith(_HIDDEN):
            # Without MFD_CLOEXEC: `run --schedule` becomes Dagster's daemon, and stays the process that holds it.
            handle = os.memfd_create(name, 0)
            with os.fdopen(os.dup(handle), "wb") as file:
                file.write(os.fsencode(value))
            os.environ[name] = f"{_HIDDEN}/proc/{os.getpid()}/fd/{handle}"


def describe(ref: SecretRef) -> str:
    """Where a secret comes from, in words that give nothing away."""
    if ref.file is not None:
        return f"file {ref.file}"
    if ref.name is not None:
        return f"{ref.name} in the secrets directory"
    if ref.command is not None:
        return f"command {Path(ref.command[0]).name}"
    return f"environment variable {ref.env}"


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SecretError(f"{what}: {path} does not exist", remedy=f"put the secret into {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SecretError(f"{what}: {path} cannot be read: {reason}", remedy="see its owner and mode") from error


def _run(argv: Sequence[str], environment: Mapping[str, str], what: str) -> str:
    """Run a secret's command with nearly all of this process's environment: password managers need their agents."""
    command = commands.Command(argv=tuple(argv), env=dict(environment), timeout=_COMMAND_SECONDS, secret=True)
    try:
        done = commands.run(command)
    except ToolError as error:
        raise SecretError(
            f"{what}: {error.message}",
            remedy=f"correct the command, or run {command.name} by hand",
        ) from error
    if done.returncode != 0:
        raise SecretError(
            f"{what}: its command {Path(argv[0]).name} ended with exit code {done.returncode}",
            remedy="run it by hand and see what it says",
        )
    return done.stdout
