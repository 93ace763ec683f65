"""`git`: every bare repository is whole, and its references are as they were recorded.

Repositories are captured while people push. The references are recorded first, so everything they point to is in
what is captured after; a reference that moved meanwhile is told by the time its file was written. What was recorded is
then checked in an empty repository of our own that borrows the restored objects: neither configuration nor hooks of
what was restored are ever used.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import ProbeFailedError, SourceError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.sources import Files
from backup_orchestration.core.tools import Requirement
from backup_orchestration.core.trees import below
from backup_orchestration.probes.base import Finding, NoOptions, ProbeKind, Restored

GIT = Requirement("git", (2, 30), ("version",), r"git version (\d+\.\d+(?:\.\d+)?)")
_SECONDS = 3600.0
_LISTING_SECONDS = 300.0  # a pipe that a configuration includes is waited for
_SYMBOLIC_DEPTH = 5  # git follows no more
# A million packed references.
_TEXT_BYTES = 128 << 20
_ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}

References = Mapping[str, str]


class GitProbe(ProbeKind[NoOptions]):
    """See the module."""

    name: ClassVar[str] = "git"
    sources: ClassVar[tuple[str, ...]] = ("files",)
    tools: ClassVar[tuple[Requirement, ...]] = (GIT,)

    def record(self, policy: BackupPolicy, options: NoOptions) -> object | None:
        """References of every bare repository below the source, by its path relative to the source."""
        del options
        root = _root(policy)
        recorded = {}
        for repository in _bare_repositories(root):
            done = _git(repository, "for-each-ref", "--format=%(objectname) %(refname)", seconds=_LISTING_SECONDS)
            if done.returncode != 0:
                raise SourceError(f"{repository}: git cannot list its references: {done.reason}")
            recorded[str(repository.relative_to(root))] = _references(done.stdout.splitlines())
        if not recorded:
            raise SourceError(f"there is no bare git repository below {root}", remedy="correct the policy")
        return recorded

    def check(self, restored: Restored, options: NoOptions) -> Finding:
        """See `ProbeKind`."""
        del options
        recorded: Mapping[str, References] = restored.fact(self.name)
        root = restored.inside(str(_root(restored.policy)))
        count = 0
        for name, references in sorted(recorded.items()):
            repository = restored.inside(str(_root(restored.policy) / name))
            if not (repository / "objects").is_dir():
                raise ProbeFailedError(f"{name} is missing")
            _require_inside(repository / "objects", restored)
            _require_references(repository, name, references, restored)
            _fsck(repository, name, references)
            count += len(references)
        strangers = {str(path.relative_to(root)) for path in _bare_repositories(root)} - set(recorded)
        new = f", {len(strangers)} made during the capture" if strangers else ""
        return Finding(
            f"{len(recorded)} repositories, {count:,} references, every object they need{new}",
            {"repositories": len(recorded), "references": count},
        )


def _root(policy: BackupPolicy) -> Path:
    assert isinstance(policy.source, Files)  # noqa: S101 - the probe takes no other source
    return policy.source.path


def _bare_repositories(root: Path) -> Iterator[Path]:
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        if (directory / "HEAD").is_file() and (directory / "objects").is_dir() and (directory / "refs").is_dir():
            yield directory
            continue
        with suppress(OSError), os.scandir(directory) as listing:
            waiting += [Path(entry.path) for entry in listing if entry.is_dir(follow_symlinks=False)]


def _git(repository: Path, *arguments: str, seconds: float = _SECONDS) -> Completed:
    git = tools.find(GIT)
    # Anybody may own a restored repository; the ones asked here are below the source, or our own.
    argv = [str(git.path), "-c", "safe.directory=*", "--git-dir", str(repository), *arguments]
    return run(Command(argv, seconds, _ENVIRONMENT))


def _references(lines: Iterable[str]) -> dict[str, str]:
    return {name: identity for identity, _, name in (line.partition(" ") for line in lines)}


def _quoted(path: Path) -> str:
    """As git writes names that hold quotes or line feeds, which would be a second line of `alternates`."""
    plain = (f"\\{byte:03o}" if byte < 33 or byte in b'"\\' else chr(byte) for byte in os.fsencode(path))
    return f'"{"".join(plain)}"'


def _require_inside(objects: Path, restored: Restored) -> None:
    """Forks borrow objects of other repositories, and links point anywhere; outside of the lab it is foreign data.

    git opens whatever it finds among objects, so that a pipe there would hold it up.
    """
    waiting, seen = [objects], set()
    while waiting:
        try:
            directory = restored.within(waiting.pop())
            if directory in seen:
                continue
            seen.add(directory)
            for entry in below(directory):
                if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
                    there = restored.within(Path(entry.path))
                    waiting += [there] if there.is_dir() else []
        except ProbeFailedError as error:
            raise ProbeFailedError(f"objects are taken from outside of what was restored: {error.message}") from None
        waiting += _borrowed(directory, restored)


def _borrowed(objects: Path, restored: Restored) -> Iterator[Path]:
    for line in _lines(objects / "info" / "alternates", restored):
        if line.startswith('"'):  # git would unquote it
            raise ProbeFailedError(f"objects are taken from {line}, which is not looked into")
        if not line.startswith("#"):
            yield objects / line


def _lines(path: Path, restored: Restored) -> list[str]:
    """Lines of a file that need not be there, without empty ones."""
    if not os.path.lexists(path):
        return []
    text = restored.read(path, _TEXT_BYTES).decode("utf-8", "surrogateescape")
    return [line for line in text.split("\n") if line]


def _require_references(repository: Path, name: str, recorded: References, restored: Restored) -> None:
    present = _present(repository, restored)
    for reference, identity in recorded.items():
        if present.get(reference) != identity and not _written_meanwhile(repository, reference, restored):
            found = present.get(reference, "nothing")
            raise ProbeFailedError(f"{name}: {reference} is at {found[:12]}, it was at {identity[:12]}")


def _present(repository: Path, restored: Restored) -> dict[str, str]:
    """References as they lie in the files; git itself is not asked, since it would read the configuration."""
    packed = (line for line in _lines(repository / "packed-refs", restored) if line[0] not in "#^")
    found = _references(packed)
    for entry in below(repository / "refs"):
        if entry.is_file(follow_symlinks=False) and not entry.name.endswith(".lock"):
            text = restored.read(Path(entry.path), _TEXT_BYTES).decode("utf-8", "surrogateescape").strip()
            found[Path(entry.path).relative_to(repository).as_posix()] = text
    return {name: _followed(text, found) for name, text in found.items()}


def _followed(text: str, references: References) -> str:
    """A symbolic reference counts as what it names."""
    for _ in range(_SYMBOLIC_DEPTH):
        text = references.get(text.removeprefix("ref:").strip(), "") if text.startswith("ref:") else text
    return text


def _written_meanwhile(repository: Path, reference: str, restored: Restored) -> bool:
    """Whether a reference was pushed to after it was recorded: its file, or the folder it lay in, says when."""
    start = restored.snapshot.taken_at.timestamp()
    end = (restored.snapshot.finished_at or restored.started_at).timestamp() + 1
    for path in (repository / reference, (repository / reference).parent, repository / "packed-refs"):
        if path.exists() and start <= path.lstat().st_mtime <= end:
            return True
    return False


def _fsck(repository: Path, name: str, references: References) -> None:
    """Check everything the recorded references need, in a repository of our own that borrows the objects."""
    with tempfile.TemporaryDirectory(prefix="homelab-git-") as folder:
        own = Path(folder) / "own.git"
        made = run(Command([str(tools.find(GIT).path), "init", "--quiet", "--bare", str(own)], _SECONDS, _ENVIRONMENT))
        if made.returncode != 0:
            raise SourceError(f"git cannot make a repository in {folder}: {made.reason}")
        borrowed = _quoted(repository / "objects")
        (own / "objects" / "info" / "alternates").write_text(f"{borrowed}\n", encoding="latin-1")
        lines = "".join(f"{identity} {reference}\n" for reference, identity in sorted(references.items()))
        (own / "packed-refs").write_text(f"# pack-refs with: sorted\n{lines}", encoding="utf-8")
        done = _git(own, "fsck", "--full", "--strict", "--no-dangling", "--no-progress")
    if done.returncode != 0:
        faults = [
            line
            for line in (done.stderr + "\n" + done.stdout).splitlines()
            if line.strip() and not line.startswith("notice:")
        ]
        raise ProbeFailedError(f"{name}: {'; '.join(faults[:3]) or done.reason}")
