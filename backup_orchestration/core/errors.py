"""Every error this project raises on purpose.

HomelabError                      message, remedy; exit 1
├── UsageError                    asked for wrongly; exit 2, nothing was touched
│   ├── SettingsError             homelab.toml: file, field, remedy
│   ├── PolicyError               a contributor's policies: file, field, remedy
│   ├── SecretError               a secret is missing, empty or unreadable
│   ├── UnknownTargetError
│   ├── UnknownSnapshotError
│   ├── NotCoveredError           a moment that no snapshot can be restored to
│   └── NotBuiltYetError          a part of the design that this version lacks
├── ToolError
│   ├── ToolMissingError          no binary that is new enough
│   ├── ToolInstallError          set-up could not unpack one
│   ├── CommandFailedError        a tool ended badly
│   │   └── CommandTimeoutError
│   └── ToolLiedError             exit code 0, but the read-back says otherwise
├── SourceError                   the data to protect is missing, unreadable or empty
├── SpaceError                    a disk has not room enough
├── LabError                      a throwaway lab does not give a probe what it needs
├── PostgresError                 a PostgreSQL server refuses or does not answer
├── RetentionError                pruning would remove more than anybody agreed to
├── StateError                    a file in `home` cannot be made
├── RepositoryError
│   ├── RepositoryMissingError    nothing is there
│   ├── RepositoryVanishedError   nothing is there any more
│   ├── WrongPasswordError
│   ├── RepositoryLockedError
│   └── RepositoryUnreachableError
├── StoreError                    a directory or bucket cannot be read or written
├── EvidenceError                 the evidence store does not give back what was written
├── NotificationError             a notifier did not take a message
├── TimeIsUpError                 what was done did not end in the time it was given
└── RestoreTestFailedError        the data did not come back
    ├── RestoreFailedError        the provider could not restore it whole
    └── ProbeFailedError          it came back, and a probe refused it
"""

from __future__ import annotations


class HomelabError(Exception):
    """Base of the tree.

    Args:
        message: what is wrong, naming the thing it is wrong with; never a secret.
        remedy: what a person does about it, as an imperative sentence; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.remedy)


def _rebuild(kind: type[HomelabError], message: str, remedy: str) -> HomelabError:
    return kind(message, remedy=remedy)


class UsageError(HomelabError):
    """The command line, the settings or a policy asks for something impossible."""

    exit_code = 2


class SettingsError(UsageError):
    """homelab.toml cannot be used."""


class PolicyError(UsageError):
    """A contributor's policies cannot be used."""


class SecretError(UsageError):
    """A secret is missing, empty or unreadable."""


class UnknownTargetError(UsageError):
    """No policy has this target."""


class UnknownSnapshotError(UsageError):
    """The repository lists no snapshot with this key."""


class NotCoveredError(UsageError):
    """A moment is outside what the repository can restore to; names the interval that it can."""


class NotBuiltYetError(UsageError):
    """The design has it, this version does not."""


class ToolError(HomelabError):
    """Base for what goes wrong with the tools that are driven."""


class ToolMissingError(ToolError):
    """No binary was found that is new enough."""


class ToolInstallError(ToolError):
    """Set-up could not unpack a tool."""


class CommandFailedError(ToolError):
    """A tool ended with an exit code that means failure."""


class CommandTimeoutError(CommandFailedError):
    """A tool did not end in the time it was given."""


class ToolLiedError(ToolError):
    """A tool said it was done, and the read-back does not find it."""


class SourceError(HomelabError):
    """The data to protect is missing, unreadable or empty."""


class SpaceError(HomelabError):
    """A disk has not room enough, or became full; nothing that was written counts."""


class LabError(HomelabError):
    """A throwaway lab does not give a probe what it needs; that says nothing of the data."""


class PostgresError(HomelabError):
    """A PostgreSQL server refuses a query, or does not answer."""


class RetentionError(HomelabError):
    """Pruning would remove more than anybody agreed to."""


class StateError(HomelabError):
    """This installation's own directory, `home`, cannot be written."""


class RepositoryError(HomelabError):
    """Base for what is wrong with a repository."""


class RepositoryMissingError(RepositoryError):
    """There is no repository at the location."""


class RepositoryVanishedError(RepositoryError):
    """There was a repository at the location, and it is gone."""


class WrongPasswordError(RepositoryError):
    """The repository is there and the password does not open it."""


class RepositoryLockedError(RepositoryError):
    """Another process holds the repository."""


class RepositoryUnreachableError(RepositoryError):
    """The repository's store does not answer, or answers with something else."""


class StoreError(HomelabError):
    """A directory or a bucket cannot be read or written, or does not answer."""


class EvidenceError(HomelabError):
    """The evidence store does not give back what was written."""


class NotificationError(HomelabError):
    """A notifier did not take a message."""


class TimeIsUpError(HomelabError):
    """What was done did not end in the time it was given, and was stopped."""


class RestoreTestFailedError(HomelabError):
    """The data did not come back as it was taken."""

    @property
    def probe(self) -> str:
        """Name of the step that refused the data."""
        return "restore"


class RestoreFailedError(RestoreTestFailedError):
    """The provider could not restore the snapshot whole."""


class ProbeFailedError(RestoreTestFailedError):
    """A probe refused the restored data.

    Args:
        message: what was expected and what was found.
        probe: the probe's name; set by the probe runner when left empty.
    """

    def __init__(self, message: str, *, remedy: str = "", probe: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self._probe = probe

    @property
    def probe(self) -> str:
        """Name of the probe."""
        return self._probe
