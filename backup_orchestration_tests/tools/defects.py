"""Plants a defect in what a restore has brought back, before the probes look at it."""

import os
import shutil

from backup_orchestration.core import manifest
from backup_orchestration.providers.restic import ResticRepository


class Tree:
    """What was restored of a target, as a defect sees it."""

    def __init__(self, report, snapshot):
        self.report = report
        self.root = report.root / next(path for path in snapshot.paths if not path.endswith(manifest.FILENAME))[1:]
        self.manifest = next((report.root / p[1:] for p in snapshot.paths if p.endswith(manifest.FILENAME)), None)

    def keeping_times(self, path, action):
        """Change something as a bad disk would: without leaving a trace in any time."""
        stats = [(item, item.lstat()) for item in (path, path.parent) if os.path.lexists(item)]
        action(path)
        for item, stat in stats:
            if os.path.lexists(item):
                os.utime(item, ns=(stat.st_atime_ns, stat.st_mtime_ns), follow_symlinks=False)


def other_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def half(path):
    os.truncate(path, path.stat().st_size // 2)


def everything(tree):
    for path in tree.report.root.iterdir():
        shutil.rmtree(path)


def at(name, action):
    """The action on one restored path."""
    return lambda tree: tree.keeping_times(tree.root / name if name else tree.root, action)


def planted(monkeypatch, defect):
    """restic restores; then the defect happens. Returns what it was planted in."""
    restore = ResticRepository.restore
    planted_in = []

    def sabotaged(self, snapshot, into, progress):
        report = restore(self, snapshot, into, progress)
        planted_in.append(snapshot.key)
        defect(Tree(report, snapshot))
        return report

    monkeypatch.setattr(ResticRepository, "restore", sabotaged)
    return planted_in
