"""`git`: every bare repository is whole, and its references are as they were recorded.

Repositories are captured while people push. The references are recorded first, so everything they point to is in
what is captured after; a reference that moved meanwhile is told by the time its file was written. What was recorded is
then checked in an empty repository of our own that borrows the restored objects: neither configuration nor hooks of
what was restored are ever used.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import ClassVar

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import ProbeFailedError, SourceError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.sources import Files
from backup_orchestration.core.tools import Requirement
from backup_orchestration.probes.base import Finding, NoOptions, ProbeKind, Restored

GIT = Requirement("git", (2, 30), ("version",), r"git version (\d+\.\d+(?:\.\d+)?)")
_SECONDS = 3600.0
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
            done = _git(repository, "for-each-ref", "--format=%(objectname) %(refname)")
            if done.returncode != 0:
                raise SourceError(f"{repository}: git cannot list its references: {done.reason}")
            recorded[str(repository.relative_to(root))] = _references(done.stdout)
        if not recorded:
            raise SourceError(f"there is no bare git repository below {root}", remedy="correct the policy")
        return recorded

    def check(self, restored: Restored, options: NoOptions) -> Finding:
        """See `ProbeKind`."""
        del options
        recorded: Mapping[str, References] = restored.fact(self.name)
        root = restored.path(str(_root(restored.policy)))
        count = 0
        for name, references in sorted(recorded.items()):
            repository = restored.inside(str(_root(restored.policy) / name))
            if not (repository / "objects").is_dir():
                raise ProbeFailedError(f"{name} is missing")
            _require_inside(repository / "objects", restored.root)
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
    for directory, folders, files in os.walk(root):
        if "HEAD" in files and "objects" in folders and "refs" in folders:
            folders.clear()
            yield Path(directory)


def _git(repository: Path, *arguments: str) -> Completed:
    git = tools.find(GIT)
    # Anybody may own a restored repository; the ones asked here are below the source, or our own.
    argv = [str(git.path), "-c", "safe.directory=*", "--git-dir", str(repository), *arguments]
    return run(Command(argv, _SECONDS, _ENVIRONMENT))


def _references(listing: str) -> dict[str, str]:
    return {name: identity for identity, _, name in (line.partition(" ") for line in listing.splitlines())}


def _require_inside(objects: Path, lab: Path) -> None:
    """Forks borrow objects of other repositories, and links point anywhere; outside of the lab it is foreign data."""
    waiting, seen = [objects], set()
    while waiting:
        directory = waiting.pop()
        if directory.resolve() in seen:
            continue
        seen.add(directory.resolve())
        for path in chain([directory], directory.rglob("*")):
            if not path.resolve().is_relative_to(lab.resolve()):
                name = f"/{path.relative_to(lab)}" if path.is_relative_to(lab) else str(path)
                raise ProbeFailedError(f"objects are taken from {name}, outside of what was restored")
        waiting += _borrowed(directory)


def _borrowed(objects: Path) -> Iterator[Path]:
    path = objects / "info" / "alternates"
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            if line and not line.startswith("#"):
                if line.startswith('"'):  # git would unquote it
                    raise ProbeFailedError(f"objects are taken from {line}, which is not looked into")
                yield (objects.resolve() / line).resolve()


def _require_references(repository: Path, name: str, recorded: References, restored: Restored) -> None:
    present = _present(repository)
    for reference, identity in recorded.items():
        if present.get(reference) != identity and not _written_meanwhile(repository, reference, restored):
            found = present.get(reference, "nothing")
            raise ProbeFailedError(f"{name}: {reference} is at {found[:12]}, it was at {identity[:12]}")


def _present(repository: Path) -> dict[str, str]:
    """References as they lie in the files; git itself is not asked, since it would read the configuration."""
    found: dict[str, str] = {}
    packed = repository / "packed-refs"
    if packed.is_file():
        lines = packed.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        found = _references("\n".join(line for line in lines if line and line[0] not in "#^"))
    for path in (repository / "refs").rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.endswith(".lock"):
            text = path.read_text(encoding="utf-8", errors="surrogateescape").strip()
            found[path.relative_to(repository).as_posix()] = text
    return found


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
        (own / "objects" / "info" / "alternates").write_text(f"{repository.resolve() / 'objects'}\n", encoding="utf-8")
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
