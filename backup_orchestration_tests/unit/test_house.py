"""What holds for the house as a whole, and the other tools cannot say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import backup_orchestration
from backup_orchestration.core.commands import Command, run

PACKAGE = Path(backup_orchestration.__file__).parent
TOP = PACKAGE.parent

# Runs one command after the other and tells of each: its exit code, whether Dagster was imported, what it said.
TELL = """
import contextlib, io, json, sys
from backup_orchestration.cli import main
for line in sys.argv[1:]:
    sys.argv = ["homelab", *json.loads(line)]
    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code or 0
    print(json.dumps([code, "dagster" in sys.modules, said.getvalue()]))
"""

REFUSED = [
    ["undo"],
    ["backup", "undo"],
    ["backup", "run", "--everything"],
    ["backup", "run"],
    ["backup", "run", "--all", "--target", "app/a"],
    ["backup", "run", "--target", "app/nothing"],
    ["backup", "restore-test"],
    ["backup", "restore-test", "--target", "app/nothing"],
    ["backup", "restore-test", "--all", "--snapshot", "20261123T020003Z-44e3a3c7"],
    ["backup", "list", "--target", "app/nothing"],
    ["backup", "status", "--target", "app/nothing"],
    ["backup", "run", "--all", "--schedule"],
    ["backup", "restore", "--target", "app/a", "--in-place"],
    ["backup", "restore", "--target", "app/nothing"],
    ["backup", "restore"],
    ["devlab", "sideways"],
]


def tell(root: Path, *commands: list[str], code: str = TELL) -> list[list]:
    """What became of these commands, in a process of its own."""
    argv = [sys.executable, "-c", code, *map(json.dumps, commands)]
    done = run(Command(argv, 60, {"HOME": str(root)}, root))
    assert done.returncode == 0, done.reason
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_does_not_wait_for_dagster(tmp_path):
    for code, imported, said in tell(
        tmp_path, ["--help"], ["--version"], ["backup", "--help"], ["backup", "run", "-h"]
    ):
        assert (code, imported) == (0, False)
        assert said


def test_what_is_asked_wrongly_is_refused_with_two_and_without_dagster(site):
    site.declare(*(f'BackupPolicy(target="app/{name}", source=Files(path=str(HERE / "data")))' for name in "ab"))
    told = tell(site.root, *REFUSED)
    assert len(told) == len(REFUSED)
    for arguments, (code, imported, said) in zip(REFUSED, told, strict=True):
        assert (arguments, code, imported) == (arguments, 2, False)
        assert said
        assert "Traceback" not in said
    assert not (site.root / ".homelab").exists()


def test_broken_settings_are_refused_without_dagster(site):
    (site.root / "homelab.toml").write_text("broken")
    verbs = [["run", "--all"], ["restore-test", "--all"], ["list"], ["status"], ["policies"]]
    for verb, (code, imported, said) in zip(
        verbs, tell(site.root, *(["backup", *verb] for verb in verbs)), strict=True
    ):
        assert (verb, code, imported) == (verb, 2, False)
        assert "homelab.toml is not TOML" in said


def test_whether_dagster_was_imported_would_be_seen(tmp_path):
    code = f"import sys, types\nsys.modules['dagster'] = types.ModuleType('dagster')\n{TELL}"
    assert [imported for _, imported, _ in tell(tmp_path, ["--help"], code=code)] == [True]


@pytest.mark.skipif(not (TOP / "dagster.yaml").exists(), reason="an installed package, not a checkout")
def test_dagster_is_configured_alike_in_a_checkout_and_in_an_installation():
    """`dagster dev` in the checkout reads one file, the command the other."""
    checkout, packaged = TOP / "dagster.yaml", PACKAGE / "orchestration/dagster.yaml"
    assert checkout.read_bytes() == packaged.read_bytes()
    assert yaml.safe_load(packaged.read_text())


def test_the_parts_that_are_entry_points_can_be_named_in_a_policy(site):
    homelab = site.homelab
    assert set(homelab.providers) >= {"restic"}
    assert set(homelab.probes) >= {"files", "sqlite"}
    for name, found in {**homelab.providers, **homelab.probes}.items():
        assert found.part.name == name
        assert "backup-orchestration" in found.origin


GROUPED = """
import os, pytest
@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("case", range(40))
def test_it(case):
    print(f"in {os.environ['PYTEST_XDIST_WORKER']}.")
"""


def test_tests_of_one_group_share_a_worker(tmp_path):
    """They share servers that are dear to start; a pair of pytest and xdist that does not see groups starts more."""
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    argv = [sys.executable, "-m", "pytest", "-rP", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup", "."]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env=kept)
    assert "40 passed" in done.stdout, done.stdout
    assert len(set(re.findall(r"^in (\w+)\.$", done.stdout, re.MULTILINE))) == 1
