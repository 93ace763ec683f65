"""README, "Protect a service of your own": a newcomer's commands, copied one by one into an empty folder.

Needs the package index, as the newcomer does; uv's cache is used where it is warm.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from backup_orchestration.core.commands import Command, Completed, run

CHECKOUT = Path(__file__).resolve().parents[2]
README = CHECKOUT / "README.md"
TITLE = "## Protect a service of your own\n"


def commands() -> list[str]:
    """Every shell block of the section, as a reader copies it."""
    section = README.read_text(encoding="utf-8").partition(TITLE)[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)\n```$", section, re.MULTILINE | re.DOTALL)


def newcomer(tmp_path: Path) -> dict[str, str]:
    """A person's own environment with CHECKOUT in it, and nothing that this test run was started with."""
    ours = re.compile(r"MAKE|MFLAGS|VIRTUAL_ENV|PYTEST|COV|HOMELAB_SETTINGS|DAGSTER|UV_PROJECT")
    kept = {name: value for name, value in os.environ.items() if not ours.match(name)}
    return {**kept, "CHECKOUT": str(CHECKOUT)}


def type_in(command: str, folder: Path) -> Completed:
    """Each in a shell of its own: no command may lean on what another left in its shell."""
    return run(Command(["/bin/sh", "-c", command], 600, newcomer(folder), folder))


def test_each_of_the_six_blocks_is_one_command():
    """A block is one line, or one here-document."""
    found = commands()
    assert 1 < len(found) <= 6
    for command in found:
        first, _, rest = command.partition("\n")
        document = re.search(r"<<'(\w+)'$", first)
        assert rest == "" or (document and rest.endswith(f"\n{document[1]}") and rest.count(document[1]) == 1), command


@pytest.mark.tools
@pytest.mark.slow
@pytest.mark.usefixtures("restic")
def test_the_commands_end_with_a_passed_restore_test(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    ended = []
    for command in commands():
        ended.append(type_in(command, folder))
        assert ended[-1].returncode == 0, f"{command}\n{ended[-1].stdout}\n{ended[-1].stderr}"
    last = ended[-1].stdout.splitlines()
    assert len(last) == 2
    assert all(": restore test passed (" in line for line in last), last
    status = type_in(".venv/bin/homelab backup status", folder)
    assert (status.returncode, status.stdout.count(" fresh ")) == (0, 2), status.stdout
    # Installed, not linked: the folder works on when the checkout is gone.
    where = type_in(".venv/bin/python -c 'import backup_orchestration as it; print(it.__file__)'", folder)
    assert where.stdout.startswith(str(folder)), where.stdout
