"""Loads one installation. Reads files only: no network, no tool is called, nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backup_orchestration.core import settings as settings_file
from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import UnknownTargetError
from backup_orchestration.core.evidence import EvidenceStore
from backup_orchestration.core.places import Place, place_of
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.postgres import POSTGRES
from backup_orchestration.core.secrets import SecretRef, Secrets, hide
from backup_orchestration.core.settings import Settings
from backup_orchestration.core.sources import Postgres
from backup_orchestration.core.tools import Requirement
from backup_orchestration.homelab import checks
from backup_orchestration.homelab.plugins import Found
from backup_orchestration.probes.base import ProbeKind
from backup_orchestration.providers.base import Provider, Repository, Surroundings
from backup_orchestration.stores.open import open_store


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Homelab:
    """One installation.

    Attributes:
        path: of the settings file.
        home: state directory, absolute.
        policies: by target, with where each was declared; sorted.
        providers, probes: by name.
        destinations: by name.
        secrets: resolves secret references.
        evidence_place: where evidence is kept.
        now: the clock, UTC.
    """

    path: Path
    settings: Settings
    home: Path
    policies: Mapping[str, Found[BackupPolicy]]
    providers: Mapping[str, Found[Provider]]
    probes: Mapping[str, Found[ProbeKind]]  # type: ignore[type-arg]
    destinations: Mapping[str, Destination]
    secrets: Secrets
    evidence_place: Place
    now: Callable[[], datetime] = _utc_now

    def policy(self, target: str) -> BackupPolicy:
        """The policy of a target by its full name.

        Raises:
            UnknownTargetError: there is none.
        """
        return self.policies[self.resolve(target)].part

    @property
    def after(self) -> Mapping[str, str | None]:
        """Of every target the one that is captured before it, or None."""
        return {target: found.part.after for target, found in self.policies.items()}

    def resolve(self, word: str) -> str:
        """The target that a word on the command line means: `gitlab/postgres`, `gitlab-postgres` or `postgres`.

        Raises:
            UnknownTargetError: none, or more than one.
        """
        if word in self.policies:
            return word
        matches = [name for name in self.policies if word in (name.replace("/", "-"), name.partition("/")[2])]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UnknownTargetError(f"{word!r} is ambiguous: {', '.join(matches)}", remedy="write one of them whole")
        raise UnknownTargetError(
            f"there is no target {word!r}",
            remedy=f"choose one of: {', '.join(self.policies) or '(none is declared)'}",
        )

    def provider(self, policy: BackupPolicy) -> Provider:
        """The provider that a policy names."""
        return self.providers[policy.provider].part

    def tools(self) -> list[Requirement]:
        """What must be installed for the policies: for their providers, probes and sources; by name."""
        needed: set[Requirement] = set()
        for found in self.policies.values():
            policy = found.part
            needed.update(self.provider(policy).needs(policy))
            needed.update(*(self.probes[probe.name].part.tools for probe in policy.probes))
            needed.update([POSTGRES] if isinstance(policy.source, Postgres) else [])
        return sorted(needed, key=lambda item: item.name)

    def repository(self, target: str) -> Repository:
        """The repository of a target; opening it touches nothing."""
        policy = self.policy(target)
        around = Surroundings(
            secrets=self.secrets,
            staging=self.home / "staging" / policy.slug,
            cache=self.home / "cache" / policy.provider,
            home=self.home,
            state=self.home / "state" / policy.slug,
            now=self.now,
        )
        return self.provider(policy).open(policy, self.destinations[policy.destination], around)

    def evidence(self, *, remember: bool = False) -> EvidenceStore:
        """The evidence store; see there for `remember`.

        Raises:
            SecretError: its key is missing.
        """
        key = self.secrets.value(self.settings.evidence.key, "evidence.key")
        return EvidenceStore(open_store(self.evidence_place, self.secrets), key, remember=remember)


def load(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Homelab:
    """Load the installation that a settings file describes.

    Args:
        path: of the settings file; default: found by the rule of `core.settings.find`.
        environment: where secrets given by `env` are looked up; default: this process's, in which they are hidden
            from then on.

    Raises:
        SettingsError, PolicyError: something is wrong with the settings or a contributor.
    """
    env = os.environ if environment is None else environment
    file = (settings_file.find(env) if path is None else path).absolute()
    settings = settings_file.read(file)
    base = file.parent
    home = _absolute(base, settings.home)
    destinations = {
        name: Destination(name, place_of(item, f"{file}: destinations.{name}", base), item.password)
        for name, item in settings.destinations.items()
    }
    evidence = place_of(settings.evidence, f"{file}: evidence", base)
    refs = checks.secret_refs(settings, file)
    secrets = _secrets(refs, settings, base, environment)
    checks.refuse_missing_secrets(refs, secrets)
    checks.refuse_keys_beside_backups(refs, destinations, evidence, secrets)
    providers = checks.providers(settings, file)
    probes = checks.probes(settings, file)
    policies = checks.policies(settings, file, destinations, providers, probes)
    checks.refuse_broken_chains(policies)
    if of_sources := checks.source_refs(policies):
        secrets = _secrets({**refs, **of_sources}, settings, base, environment)
        checks.refuse_missing_secrets(of_sources, secrets)
        checks.refuse_keys_beside_backups(of_sources, destinations, evidence, secrets)
    checks.refuse_overlaps(policies, destinations, providers, home, evidence)
    return Homelab(file, settings, home, policies, providers, probes, destinations, secrets, evidence)


def _secrets(
    refs: Mapping[str, SecretRef], settings: Settings, base: Path, environment: Mapping[str, str] | None
) -> Secrets:
    """Resolves these; those in this process's environment are hidden there, unless another one was given."""
    hidden = {ref.env for ref in refs.values() if ref.env is not None}
    if environment is None:
        hide(hidden)
    env = os.environ if environment is None else environment
    home = _absolute(base, settings.home)
    return Secrets(base, _absolute(base, settings.secrets), env, home / "run", hidden)


def _absolute(base: Path, path: Path) -> Path:
    return Path(os.path.normpath(base / path))
