"""Everything that is refused when an installation is loaded, before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import isclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import ValidationError

from backup_orchestration.core.chains import chains_of, way_of
from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import PolicyError, SettingsError
from backup_orchestration.core.places import Directory, Place, PlaceSettings
from backup_orchestration.core.policy import BackupPolicy, Contributor, Probe
from backup_orchestration.core.secrets import SecretRef, Secrets
from backup_orchestration.core.settings import Settings, explain
from backup_orchestration.homelab import plugins
from backup_orchestration.homelab.plugins import Found
from backup_orchestration.probes.base import ProbeKind
from backup_orchestration.providers.base import Provider

Part = TypeVar("Part", Provider, ProbeKind)  # type: ignore[type-arg]
Policies = Mapping[str, Found[BackupPolicy]]
Providers = Mapping[str, Found[Provider]]
Probes = Mapping[str, Found[ProbeKind]]  # type: ignore[type-arg]


def providers(settings: Settings, file: Path) -> Providers:
    """Every provider by name.

    Raises:
        SettingsError: an object is no provider, or a name is taken twice.
    """
    return _by_name(plugins.load("providers", settings.providers, file), Provider)  # type: ignore[type-abstract]


def probes(settings: Settings, file: Path) -> Probes:
    """Every probe by name; as `providers`."""
    return _by_name(plugins.load("probes", settings.probes, file), ProbeKind)  # type: ignore[type-abstract]


def policies(
    settings: Settings,
    file: Path,
    destinations: Mapping[str, Destination],
    known_providers: Providers,
    known_probes: Probes,
) -> Policies:
    """Every policy by target, sorted.

    Raises:
        PolicyError: names where it was declared, the target, the field and the remedy.
    """
    declared: dict[str, Found[BackupPolicy]] = {}
    for found in plugins.load("contributors", settings.contributors, file):
        for policy in _declared_by(found):
            where = f"{found.origin}: {policy.target}"
            if policy.target in declared:
                raise PolicyError(
                    f"{where}: target: {declared[policy.target].origin} declares it too",
                    remedy="rename one of the two",
                )
            _check_destination(policy, where, destinations, file)
            _check_provider(policy, where, known_providers)
            for probe in policy.probes:
                _check_probe(policy, probe, where, known_probes)
            declared[policy.target] = Found(policy, found.origin)
    return dict(sorted(declared.items()))


def refuse_overlaps(
    declared: Policies,
    destinations: Mapping[str, Destination],
    known_providers: Providers,
    home: Path,
    evidence: Place,
) -> None:
    """Refuse two targets in one repository, and a source that holds its own backup or this installation's state.

    Raises:
        PolicyError: as `policies`.
    """
    taken: dict[Place, str] = {}
    slugs: dict[str, str] = {}
    for target, found in declared.items():
        policy, destination = found.part, destinations[found.part.destination]
        location = _location(found, known_providers[policy.provider].part, destination)
        if location in taken:
            raise PolicyError(
                f"{found.origin}: {target}: target: its repository {location} is that of {taken[location]}",
                remedy="rename one of the two",
            )
        if policy.slug in slugs:
            # Also in two destinations: staging and labs of a target are named by it.
            raise PolicyError(
                f"{found.origin}: {target}: target: it is called {policy.slug} on disk, as is {slugs[policy.slug]}",
                remedy="rename one of the two",
            )
        taken[location] = slugs[policy.slug] = target
        inside: dict[str, Place] = {"its repository": location, "`home`": Directory(home), "the evidence": evidence}
        for what, place in inside.items():
            if policy.source.holds(place):
                raise PolicyError(
                    f"{found.origin}: {target}: source: {policy.source.summary} contains {what}, {place}",
                    remedy=f"move {what} to another bucket",
                )
        for source, (what, place) in product(policy.source.paths, inside.items()):
            path = place.path if isinstance(place, Directory) else None
            if path is not None and _resolved(path).is_relative_to(_resolved(source)) and not _excluded(policy, path):
                raise PolicyError(
                    f"{found.origin}: {target}: source: {source} contains {what}, {path}",
                    remedy=f"move {what} out of it, or exclude it in the policy",
                )


def refuse_broken_chains(declared: Policies) -> None:
    """Refuse an order that cannot be kept: after an unknown target, in a circle, in another time zone.

    Raises:
        PolicyError: as `policies`.
    """
    after = {target: found.part.after for target, found in declared.items()}
    for target, before in after.items():
        if before is not None:
            _check_after(declared, target, before, after)
    named: dict[str, str] = {}
    for chain in chains_of(after):
        first = chain.members[0]
        if chain.name in named:
            raise PolicyError(
                f"{declared[first].origin}: {first}: after: it begins a second application called {chain.name}, "
                f"beside {named[chain.name]}",
                remedy=f"declare one `after` the other, or call the service of {first} otherwise",
            )
        named[chain.name] = first


def _check_after(declared: Policies, target: str, before: str, after: Mapping[str, str | None]) -> None:
    field = f"{declared[target].origin}: {target}: after"
    if before not in declared:
        raise PolicyError(
            f"{field}: there is no target {before!r}",
            remedy=f"choose one of: {', '.join(name for name in declared if name != target) or '(none is declared)'}",
        )
    try:
        way_of(after, target)
    except ValueError as circle:
        raise PolicyError(
            f"{field}: it would have to wait for itself: {circle}", remedy="leave `after` away in one of them"
        ) from None
    zones = {name: declared[name].part.timezone for name in (target, before)}
    if len(set(zones.values())) > 1:
        raise PolicyError(
            f"{field}: it is due by {zones[target]}, {before} by {zones[before]}: no night is the same",
            remedy="give both one timezone",
        )


def secret_refs(settings: Settings, file: Path) -> Mapping[str, SecretRef]:
    """Every secret of the settings, by file and field."""
    refs = {f"destinations.{name}.password": item.password for name, item in settings.destinations.items()}
    refs |= {f"notifications.{name}.url": item.url for name, item in settings.notifications.items()}
    places: dict[str, PlaceSettings] = {f"destinations.{name}": item for name, item in settings.destinations.items()}
    for name, place in {**places, "evidence": settings.evidence}.items():
        keys = {f"{name}.access_key": place.access_key, f"{name}.secret_key": place.secret_key}
        refs |= {field: ref for field, ref in keys.items() if ref is not None}
    return {f"{file}: {field}": ref for field, ref in {**refs, "evidence.key": settings.evidence.key}.items()}


def source_refs(declared: Policies) -> Mapping[str, SecretRef]:
    """Every secret that sources are read with, by where it is declared."""
    return {
        f"{found.origin}: {target}: source.{field}": ref
        for target, found in declared.items()
        for field, ref in found.part.source.secrets.items()
    }


def refuse_missing_secrets(refs: Mapping[str, SecretRef], secrets: Secrets) -> None:
    """Refuse secrets that are not there. Commands are not run for it: they may ask a person.

    Raises:
        SecretError: names the field as `refs` do, and the remedy.
    """
    for field, ref in refs.items():
        if not secrets.is_command(ref):
            secrets.value(ref, field)


def refuse_keys_beside_backups(
    refs: Mapping[str, SecretRef], destinations: Mapping[str, Destination], evidence: Place, secrets: Secrets
) -> None:
    """Refuse secrets that lie where the backups lie: whoever has the backups would have their keys.

    Raises:
        SettingsError: names the field.
    """
    places: dict[str, Place] = {f"destinations.{name}": item.place for name, item in destinations.items()}
    places["evidence"] = evidence
    for field, ref in refs.items():
        path = secrets.path(ref)
        for place, location in places.items():
            if path is None or not isinstance(location, Directory):
                continue
            if _resolved(path).is_relative_to(_resolved(location.path)):
                raise SettingsError(
                    f"{field}: {path} lies inside {place}.location, {location}",
                    remedy="move the secret out of it, and keep a copy elsewhere",
                )


def _declared_by(found: Found[object]) -> Iterable[BackupPolicy]:
    """The policies of one contributor."""
    contributor = _made(found)
    try:
        declared = list(contributor.policies()) if isinstance(contributor, Contributor) else None
    except ValidationError as error:
        message, remedy = explain(f"{found.origin}: {error.title}", error)
        raise PolicyError(message, remedy=remedy) from None
    except (Exception, SystemExit) as error:
        raise PolicyError(
            f"{found.origin}: policies() failed: {type(error).__name__}: {error}", remedy="correct it"
        ) from error
    if declared is None:
        raise PolicyError(
            f"{found.origin}: {type(contributor).__name__} has no policies()",
            remedy="give it a method policies() that returns a list of BackupPolicy",
        )
    for policy in declared:
        if not isinstance(policy, BackupPolicy):
            raise PolicyError(
                f"{found.origin}: policies() gave a {type(policy).__name__}",
                remedy="return a list of BackupPolicy",
            )
    return declared


def _by_name(parts: Iterable[Found[object]], kind: type[Part]) -> dict[str, Found[Part]]:
    named: dict[str, Found[Part]] = {}
    for found in parts:
        part = _made(found)
        if not isinstance(part, kind):
            raise SettingsError(
                f"{found.origin}: it is no {kind.__name__}",
                remedy=f"derive it from {kind.__module__}.{kind.__name__}",
            )
        if not isinstance(getattr(part, "name", None), str):
            raise SettingsError(f"{found.origin}: it has no name", remedy="give its class a `name`")
        if part.name in named:
            raise SettingsError(
                f"{found.origin}: the name {part.name!r} is taken by {named[part.name].origin}",
                remedy="rename one of the two",
            )
        named[part.name] = Found(part, found.origin)
    return named


def _made(found: Found[object]) -> object:
    """The object that was found; of a class, an instance."""
    if not isclass(found.part):
        return found.part
    try:
        return found.part()
    except (Exception, SystemExit) as error:
        raise SettingsError(
            f"{found.origin}: {found.part.__name__}() failed: {type(error).__name__}: {error}", remedy="correct it"
        ) from error


def _check_destination(policy: BackupPolicy, where: str, destinations: Mapping[str, Destination], file: Path) -> None:
    if policy.destination not in destinations:
        raise PolicyError(
            f"{where}: destination: {file} has no [destinations.{policy.destination}]",
            remedy=f"add it, or choose one of: {', '.join(destinations)}",
        )


def _check_provider(policy: BackupPolicy, where: str, known: Providers) -> None:
    if policy.provider not in known:
        raise PolicyError(
            f"{where}: provider: {policy.provider!r} is unknown",
            remedy=f"choose one of: {', '.join(sorted(known))}",
        )
    takes = known[policy.provider].part.sources
    if policy.source.kind not in takes:
        raise PolicyError(
            f"{where}: source: {policy.provider} does not take {policy.source.kind}",
            remedy=f"choose a source of: {', '.join(takes)}",
        )


def _check_probe(policy: BackupPolicy, probe: Probe, where: str, known: Probes) -> None:
    field = f"{where}: restore_test.probes.{probe.name}"
    if probe.name not in known:
        raise PolicyError(f"{field}: unknown probe", remedy=f"choose one of: {', '.join(sorted(known))}")
    kind = known[probe.name].part
    if policy.source.kind not in kind.sources:
        raise PolicyError(
            f"{field}: it cannot look at {policy.source.kind}",
            remedy=f"it understands: {', '.join(kind.sources)}",
        )
    try:
        kind.options.model_validate(dict(probe.options))
    except ValidationError as error:
        message, remedy = explain(f"{field}: options", error)
        raise PolicyError(message, remedy=remedy) from None


def _location(found: Found[BackupPolicy], provider: Provider, destination: Destination) -> Place:
    try:
        return provider.location(found.part, destination)
    except PolicyError as error:
        raise PolicyError(f"{found.origin}: {error.message}", remedy=error.remedy) from None


def _excluded(policy: BackupPolicy, path: Path) -> bool:
    source = policy.source
    return source.kind == "files" and any(
        source.excludes(PurePosixPath(part)) for part in (path, *path.parents) if part.is_relative_to(source.path)
    )


def _resolved(path: Path) -> Path:
    return path.resolve()
