"""Backup policies: what contributors declare, strictly validated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Protocol, Self, runtime_checkable

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from backup_orchestration.core import schedule
from backup_orchestration.core.frozen import Frozen
from backup_orchestration.core.sources import Source

_WORD = r"[a-z0-9]+(-[a-z0-9]+)*"

TargetName = Annotated[str, Field(pattern=rf"^{_WORD}/{_WORD}$", max_length=100)]
Name = Annotated[str, Field(pattern=rf"^{_WORD}$", max_length=60)]
Cron = Annotated[str, AfterValidator(schedule.check_cron)]
Timezone = Annotated[str, AfterValidator(schedule.check_timezone)]


class Retention(Frozen):
    """How many snapshots to keep; a snapshot is kept if any rule keeps it (restic's rules).

    Attributes:
        keep_last, keep_daily, keep_weekly, keep_monthly: counts; 0 switches a rule off.
        min_verified: so many of the newest verified snapshots are kept whatever the counts say, and while there are
            fewer, nothing is removed.
    """

    keep_last: Annotated[int, Field(ge=0)] = 7
    keep_daily: Annotated[int, Field(ge=0)] = 14
    keep_weekly: Annotated[int, Field(ge=0)] = 4
    keep_monthly: Annotated[int, Field(ge=0)] = 6
    min_verified: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if not any((self.keep_last, self.keep_daily, self.keep_weekly, self.keep_monthly)):
            raise ValueError("every count is 0, which would keep nothing; set at least keep_last = 1")
        return self


class Probe(Frozen):
    """One assertion on restored data: the probe's name and its options.

    Attributes:
        name: as `homelab backup policies` lists it, e.g. `files`.
        options: checked by the probe itself when the policies are loaded.
        timeout: how long it may take, in seconds; then it is stopped, and the test proves nothing.
    """

    name: Name
    options: Mapping[str, Any] = Field(default_factory=dict)
    timeout: Annotated[float, Field(gt=0)] = 6 * 3600.0


def _probes(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(Probe(name=item) if isinstance(item, str) else item for item in value)
    return value


class RestoreTest(Frozen):
    """When a snapshot is restored into a throwaway lab, and what is asserted there.

    Attributes:
        cron: default nightly at 05:00.
        probes: names or `Probe` objects, besides those that the kind of source always gets.
    """

    cron: Cron = "0 5 * * *"
    probes: Annotated[tuple[Probe, ...], BeforeValidator(_probes)] = ()

    @field_validator("probes")
    @classmethod
    def _once(cls, value: tuple[Probe, ...]) -> tuple[Probe, ...]:
        names = [probe.name for probe in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} stands there twice; give one probe all the options")
        return value


class BackupPolicy(Frozen):
    """How one target is backed up and proved.

    Attributes:
        target: `<service>/<name>`, lower case letters, digits and dashes.
        source: `Files`, `Sqlite`, `Dump`, `Export`, `Postgres`, `PgDump` or `Bucket`.
        description: for people.
        provider: name of the provider.
        destination: name of a destination in the settings.
        cron: when a snapshot is taken; default nightly at 02:00.
        timezone: IANA zone of both crons.
        retention: what is kept.
        restore_test: when and how a snapshot is proved.
        rpo: the oldest that the newest verified data may be; default: the longest gap of `cron` x 1.5.
        after: the target of the same application that must be captured before this one, e.g. the database that refers
            to these files. Due in the same night, this one begins when that one has ended.
        stand_in: the service is played by a stand-in, as in the example lab; `policies` says so.
    """

    target: TargetName
    source: Source
    description: str = ""
    provider: Name = "restic"
    destination: Name = "default"
    cron: Cron = "0 2 * * *"
    timezone: Timezone = "UTC"
    retention: Retention = Field(default_factory=Retention)
    restore_test: RestoreTest = Field(default_factory=RestoreTest)
    rpo: timedelta | None = None
    after: TargetName | None = None
    stand_in: bool = False

    @field_validator("rpo")
    @classmethod
    def _positive(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(minutes=1):
            raise ValueError("rpo must be at least one minute")
        return value

    @property
    def service(self) -> str:
        """First half of the target."""
        return self.target.partition("/")[0]

    @property
    def name(self) -> str:
        """Second half of the target."""
        return self.target.partition("/")[2]

    @property
    def slug(self) -> str:
        """`<service>-<name>`, as repositories are named; unique among loaded policies."""
        return self.target.replace("/", "-")

    @property
    def effective_rpo(self) -> timedelta:
        """The RPO as declared, or one and a half times the longest gap of the cron."""
        return self.rpo or schedule.longest_gap(self.cron) * 1.5

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The probes that every source of this kind gets, then the declared ones; a name stands once."""
        declared = {probe.name: probe for probe in self.restore_test.probes}
        always = {name: Probe(name=name) for name in _probes_of(self.source)}
        return tuple((always | declared).values())


_PROBES = {
    "sqlite": ("files", "sqlite"),
    "postgres": ("sql", "amcheck", "checksums"),
    "pg_dump": ("files", "sql"),
    "bucket": ("objects",),
}


def _probes_of(source: Source) -> tuple[str, ...]:
    return _PROBES.get(source.kind, ("files",))


@runtime_checkable
class Contributor(Protocol):
    """Declares the policies of one service."""

    def policies(self) -> Iterable[BackupPolicy]:
        """The policies; called once when the settings are loaded. No network, no tool calls."""
        ...
