"""The recovery kit: one directory, to be kept elsewhere, from which everything is restored with plain tools alone.

README.md            the runbook: what belongs together, what each target needs, what comes after
restore/TARGET.sh    restores one target: `sh restore/shop-notes.sh DIRECTORY [SNAPSHOT]`, or `--list`
secrets/FIELD        what opens the repositories; without them, README.md says what to put there
certificates/        of private authorities
settings/            homelab.toml and the files of contributors that it names
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import SettingsError, UsageError
from backup_orchestration.core.places import Bucket, Directory
from backup_orchestration.core.private_files import private_directory, write_atomically
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.homelab.load import Homelab
from backup_orchestration.operations import runbook
from backup_orchestration.operations.runbook import Entry

# Where the steps find the kit, until the script knows where it lies.
_ROOT = Path("/homelab-kit")
_SECRETS, _CERTIFICATES = "secrets", "certificates"
_SECRETS_IN = (
    "**This kit holds the secrets: whoever has it can read every backup.** Keep it as you keep a house key.",
    "They are, in one file each:",
)
_SECRETS_OUT = (
    "**The secrets are not in here.** Without them nothing can be restored. Each goes into a file of its own:",
)
_SCRIPT = """\
#!/bin/sh
# Restores {target}, with {needs}.
#   sh restore/{slug}.sh DIRECTORY [SNAPSHOT]    into DIRECTORY/restored; DIRECTORY is made
#   sh restore/{slug}.sh --list                  what there is to restore
# Repository: {location}
# Without SNAPSHOT: {said}
set -eu
umask 077
KIT=$(CDPATH= cd "$(dirname "$0")/.." && pwd)
for field in {fields}; do
    [ -s "$KIT/secrets/$field" ] ||
        {{ echo "put the secret into $KIT/secrets/$field; README.md says where it was kept" >&2; exit 1; }}
done
TO=${{1:?name a new directory, or say --list}}
if [ "$TO" = --list ]; then
    TO=$(mktemp -d)
    trap 'cd / && rm -rf "$TO"' EXIT
    cd "$TO"
    {opening}
    {listing}
    exit
fi
SNAPSHOT=${{2:-{name}}}
[ -n "$SNAPSHOT" ] || {{ echo "name a snapshot, see --list" >&2; exit 1; }}
mkdir "$TO"
cd "$TO"
{restoring}
echo "restored below $PWD/restored; what comes then stands in README.md, at {target}"
"""


@dataclass(frozen=True)
class Kit:
    """What was written.

    Attributes:
        directory: it.
        entries: by target.
        secrets: by field, where each is kept on this machine.
        with_secrets: whether they are in the kit.
    """

    directory: Path
    entries: Sequence[Entry]
    secrets: Mapping[str, str]
    with_secrets: bool


def write_kit(homelab: Homelab, targets: Sequence[str], directory: Path, *, with_secrets: bool) -> Kit:
    """Write the kit; it is there whole or not at all.

    Args:
        homelab: the installation.
        targets: full names.
        directory: new; only this user can enter it.
        with_secrets: put the secrets in.

    Raises:
        UsageError: something is there already, or secrets would lie beside the backups that they open.
        SecretError: a secret is missing.
        OSError: it cannot be written.
    """
    directory = directory.absolute()
    _refuse(homelab, directory, with_secrets=with_secrets)
    used = sorted({homelab.policy(target).destination for target in targets})
    homelab = replace(homelab, destinations={name: homelab.destinations[name] for name in used})
    moved = replace(homelab, destinations={name: _moved(item) for name, item in homelab.destinations.items()})
    found = runbook.entries(homelab, targets, moved)
    private_directory(directory.parent)
    making = directory.with_name(f".{directory.name}.{token_hex(4)}.partial")
    try:
        for part in ("restore", _SECRETS, _CERTIFICATES, "settings"):
            private_directory(making / part)
        for entry in found:
            _write(making / "restore" / f"{entry.policy.slug}.sh", _script(homelab, entry))
        _copy_certificates(homelab, making / _CERTIFICATES)
        if with_secrets:
            _copy_secrets(homelab, making / _SECRETS)
        _copy_settings(homelab, making / "settings")
        _write(making / "README.md", _readme(homelab, found, with_secrets=with_secrets))
        making.rename(directory)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    kept = {field: runbook.where_kept(homelab, ref) for field, ref in runbook.secret_refs(homelab).items()}
    return Kit(directory, found, kept, with_secrets)


def _refuse(homelab: Homelab, directory: Path, *, with_secrets: bool) -> None:
    if directory.exists() or directory.is_symlink():
        raise UsageError(
            f"--to: {directory} is there already", remedy="name a new directory; remove an old kit yourself"
        )
    places = {f"destinations.{name}": item.place for name, item in homelab.destinations.items()}
    for name, place in {**places, "evidence": homelab.evidence_place}.items():
        inside = isinstance(place, Directory) and directory.resolve().is_relative_to(place.path.resolve())
        if with_secrets and inside:
            raise UsageError(
                f"--to: {directory} lies inside {name}.location: the keys would lie beside what they open",
                remedy="write the kit elsewhere, best onto a disk that you carry away",
            )


def _moved(item: Destination) -> Destination:
    """The same, with its secrets and certificates in the kit."""

    def at(key: str) -> SecretRef:
        return SecretRef(file=_ROOT / _SECRETS / f"destinations.{item.name}.{key}")

    place = item.place
    if isinstance(place, Bucket):
        ca = _ROOT / _CERTIFICATES / f"{item.name}.pem" if place.ca else None
        place = replace(place, ca=ca, access_key=at("access_key"), secret_key=at("secret_key"))
    return replace(item, place=place, password=at("password"))


def _write(path: Path, text: str) -> None:
    """Text that holds no secret, whatever stood where it comes from."""
    write_atomically(path, REDACTOR.clean_lines(text).encode())


def _copy_secrets(homelab: Homelab, into: Path) -> None:
    for field, ref in runbook.secret_refs(homelab).items():
        write_atomically(into / field, f"{homelab.secrets.value(ref, field)}\n".encode())


def _copy_certificates(homelab: Homelab, into: Path) -> None:
    for name, item in homelab.destinations.items():
        if isinstance(item.place, Bucket) and item.place.ca:
            try:
                write_atomically(into / f"{name}.pem", item.place.ca.read_bytes())
            except OSError as error:
                raise SettingsError(
                    f"{item.place.name}.ca: {item.place.ca} cannot be read: {error.strerror}", remedy="correct the path"
                ) from error


def _copy_settings(homelab: Homelab, into: Path) -> None:
    """The settings, and the files that they name: what declares policies can be read again elsewhere."""
    _write(into / homelab.path.name, homelab.path.read_text(encoding="utf-8"))
    settings = homelab.settings
    for reference in (*settings.contributors, *settings.providers, *settings.probes):
        file = homelab.path.parent / reference.partition(":")[0]
        if file.suffix == ".py" and file.is_file():
            _write(into / file.name, file.read_text(encoding="utf-8"))


def _script(homelab: Homelab, entry: Entry) -> str:
    by_hand, used = entry.by_hand, homelab.destinations[entry.policy.destination]
    return _SCRIPT.format(
        target=entry.policy.target,
        slug=entry.policy.slug,
        needs=", ".join(entry.needs) or "a shell",
        location=_one_line(entry.location),
        said=_one_line(entry.said),
        fields=" ".join(runbook.secret_refs(replace(homelab, destinations={used.name: used}))),
        opening=_in_kit("\n    ".join(by_hand.opening)),
        listing=_in_kit(by_hand.listing),
        name=shlex.quote(by_hand.name(entry.snapshot)) if entry.snapshot else "",
        restoring=_in_kit("\n".join((*by_hand.opening, *by_hand.restoring))),
    )


def _one_line(text: str) -> str:
    """Fit for a comment: nothing in it may begin a line of its own."""
    return " ".join(text.split())


def _in_kit(lines: str) -> str:
    return lines.replace(f"{_ROOT}/", '"$KIT"/')


def _readme(homelab: Homelab, found: Sequence[Entry], *, with_secrets: bool) -> str:
    kept = runbook.secret_refs(homelab).items()
    lines = [
        *runbook.head(homelab, "Recovery kit"),
        "Everything here is restored with the tools named at each target; nothing of this project is needed. Write a",
        "new kit when targets, destinations or secrets change. Where a disk is mounted elsewhere now, correct its path",
        "in the scripts. The settings from which everything was declared lie in `settings/`.",
        "",
        *(_SECRETS_IN if with_secrets else _SECRETS_OUT),
        "",
        *(f"- `{_SECRETS}/{field}`: was {runbook.where_kept(homelab, ref)}" for field, ref in kept),
        "",
        *runbook.order(homelab, found),
    ]
    for entry in found:
        call = f"sh restore/{entry.policy.slug}.sh"
        lines += runbook.section(entry, ["```sh", f"{call} --list", f"{call} DIRECTORY", "```"])
    return "\n".join(lines) + "\n"
