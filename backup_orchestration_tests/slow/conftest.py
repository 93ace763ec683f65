"""The slow tier: whole matrices, or with SLOW_SAMPLE=N a sample of N cases of each.

A matrix is a parametrized test; a test without parameters always runs. SLOW_SEED chooses the cases and every moment
that is left to chance; by default the commit does. It is printed, so that a run can be repeated.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from kills import copy_site, files_of, fill, proven_site

_HERE = Path(__file__).parent


def _seed() -> str:
    if given := os.environ.get("SLOW_SEED"):
        return given
    asked = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=_HERE, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "no-commit"


SEED = _seed()
_GIVEN = os.environ.get("SLOW_SAMPLE", "")
SAMPLE = int(_GIVEN) if _GIVEN else None


def _told() -> str:
    again = f"SLOW_SAMPLE={SAMPLE} " if SAMPLE is not None else ""
    what = f"{SAMPLE} cases of each matrix" if SAMPLE is not None else "whole matrices"
    return f"slow tier: {what}; again with {again}SLOW_SEED={SEED}"


def pytest_report_header() -> str:
    return _told()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(_told())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not in the sample. Every xdist worker chooses the same."""
    if SAMPLE is None:
        return
    matrices: dict[str, list[pytest.Item]] = {}
    for item in items:
        if _HERE in item.path.parents:
            matrices.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left: set[pytest.Item] = set()
    for name, cases in matrices.items():
        left.update(cases)
        left.difference_update(random.Random(f"{SEED} {name}").sample(cases, min(SAMPLE, len(cases))))
    if left:
        config.hook.pytest_deselected(items=sorted(left, key=items.index))
        items[:] = [item for item in items if item not in left]


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """What is left to chance in this case; the same with the same SLOW_SEED."""
    return random.Random(f"{SEED} {request.node.nodeid}")


@pytest.fixture(scope="session")
def sampled():
    """How many of so many rounds to run, for a test that makes its rounds itself."""
    return lambda whole: whole if SAMPLE is None else min(SAMPLE, whole)


@pytest.fixture(scope="session")
def proven(tmp_path_factory, new_site, start_repository):
    """A site whose only snapshot is verified; its source is large and not backed up yet."""
    site = proven_site(tmp_path_factory.mktemp("proven"), new_site, start_repository)
    return site.declare(files_of(fill(site.root / "large", 64)))


@pytest.fixture(scope="session")
def untested(proven, tmp_path_factory, dagster_home):
    """The same with a large snapshot that is not tested yet."""
    site = copy_site(proven, tmp_path_factory.mktemp("untested"), dagster_home)
    site.backup()
    return site


@pytest.fixture
def sites(proven, untested, tmp_path, dagster_home):
    """A site for a run of this verb, with something to lose."""
    return lambda verb: copy_site(proven if verb == "run" else untested, tmp_path, dagster_home)
