"""The commands that restore a snapshot without this project do restore it, in a shell that knows nothing of it."""

import filecmp
import os

import pytest

from backup_orchestration.core.commands import Command, check

pytestmark = [pytest.mark.tools]


def in_a_bare_shell(lines, restic, directory):
    """As a person pastes them, with restic on the PATH and nothing else of ours."""
    script = "set -e\n" + "\n".join(lines)
    path = f"{restic.parent}:/usr/bin:/bin"
    argv = ["/usr/bin/env", "-i", f"PATH={path}", f"HOME={directory}", "/bin/sh", "-c", script]
    return check(Command(argv, 60, cwd=directory))


def same(one, other):
    seen = filecmp.dircmp(one, other)
    assert not seen.left_only + seen.right_only + seen.diff_files + seen.funny_files
    for name in seen.common_dirs:
        same(os.path.join(one, name), os.path.join(other, name))


def test_a_tree(template, restic, tmp_path):
    repository = template.homelab.repository("app/files")
    in_a_bare_shell(repository.by_hand().commands(repository.latest()), restic, tmp_path)
    restored = tmp_path / "restored" / str(template.root / "data").lstrip("/")
    same(template.root / "data", restored)
    assert os.readlink(restored / "link") == "one.txt"
    assert (restored / "sub" / "two.bin").read_bytes() == bytes(range(256)) * 64


def test_places_with_spaces_and_quotes(site, start_repository, restic, tmp_path_factory):
    """A directory that a shell would take apart."""
    odd = tmp_path_factory.mktemp("odd") / "it's a $HOME; `id`"
    site.root.rename(odd)
    moved = start_repository(type(site)(odd), "app/files")
    snapshot = moved.backup()
    (odd / "target").mkdir()
    in_a_bare_shell(moved.homelab.repository("app/files").by_hand().commands(snapshot), restic, odd / "target")
    same(odd / "data", odd / "target" / "restored" / str(odd / "data").lstrip("/"))
