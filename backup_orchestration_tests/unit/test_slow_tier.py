"""The slow tier runs when it is named, and a sample of it can be repeated."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = Path(__file__).parent.parent / "slow"
TOP = SLOW.parent.parent

CASES = """
import pytest

@pytest.mark.parametrize("case", range(20))
def test_one(case, chance): print(f"one {case} {chance.random()}")

@pytest.mark.parametrize("case", range(20))
def test_other(case): print(f"other {case}")

def test_rounds(sampled): print(f"rounds {sampled(20)}")
"""


def pytest_in(place, *arguments, **variables):
    """What a run of pytest in this directory prints."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "SLOW_", "COV_"))}
    kept["PYTHONPATH"] = str(SLOW.parent)  # what the tier's conftest imports
    argv = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=place, env={**kept, **variables})
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def ran(tmp_path):
    """Runs a tier of three small tests with these variables."""
    shutil.copy(SLOW / "conftest.py", tmp_path)
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return lambda **variables: pytest_in(tmp_path, str(tmp_path), **variables)


def cases(said):
    lines = (line.rpartition("test_cases.py ")[2].lstrip(".") for line in said.splitlines())
    return {line for line in lines if line.startswith(("one ", "other "))}


def test_a_sample_is_a_few_cases_of_each_matrix_and_the_same_with_the_same_seed(ran):
    said = ran(SLOW_SAMPLE="3", SLOW_SEED="some")
    chosen = cases(said)
    assert sorted(line.split()[0] for line in chosen) == ["one"] * 3 + ["other"] * 3
    assert "rounds 3" in said and "7 passed, 34 deselected" in said
    assert said.count("slow tier: 3 cases of each matrix; again with SLOW_SAMPLE=3 SLOW_SEED=some") == 2
    assert cases(ran(SLOW_SAMPLE="3", SLOW_SEED="some")) == chosen
    assert cases(ran(SLOW_SAMPLE="3", SLOW_SEED="another")) != chosen


def test_without_a_sample_all_of_it_runs(ran):
    said = ran(SLOW_SEED="some")
    assert "41 passed" in said and "rounds 20" in said
    assert "slow tier: whole matrices; again with SLOW_SEED=some" in said


@pytest.mark.skipif(not (TOP / "pyproject.toml").exists(), reason="an installed package, not a checkout")
def test_the_slow_tier_is_left_out_unless_it_is_named(tmp_path):
    shutil.copy(TOP / "pyproject.toml", tmp_path)
    for name in ("slow", "unit"):
        folder = tmp_path / "backup_orchestration_tests" / name
        folder.mkdir(parents=True)
        (folder / f"test_{name}.py").write_text(f"def test_it(): print('ran {name}')")
    assert "ran unit" in (said := pytest_in(tmp_path)) and "ran slow" not in said
    assert "ran slow" in (said := pytest_in(tmp_path, "backup_orchestration_tests/slow")) and "ran unit" not in said
