"""A directory that is filled beside its place: whole there, or not at all."""

import os
import subprocess
import sys

import pytest

from backup_orchestration.core.errors import StateError
from backup_orchestration.core.partial import leftovers, partial_directory

KILLED = """\
import os, signal, sys
from pathlib import Path
from backup_orchestration.core.partial import partial_directory
with partial_directory(Path(sys.argv[1])) as partial:
    (partial.data / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_kept_stands_there_and_nothing_beside_it(tmp_path):
    with partial_directory(tmp_path / "place") as partial:
        (partial.data / "one").write_text("one")
        (partial.root / "scratch").mkdir()
        partial.data.chmod(0o755)
        assert not (tmp_path / "place").exists()
        partial.keep()
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert (tmp_path / "place" / "one").read_text() == "one"
    assert (tmp_path / "place").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_is_not_kept_is_gone(tmp_path, error):
    with pytest.raises(error), partial_directory(tmp_path / "place") as partial:
        (partial.data / "one").write_text("one")
        (partial.data / "closed").mkdir(mode=0)
        raise error
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes_with_the_next_of_the_same_place(tmp_path):
    place = tmp_path / "place"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(place)], check=False)
    assert killed.returncode == -9 and not place.exists()
    (left,) = leftovers(place)
    with partial_directory(tmp_path / "other"):
        pass
    assert leftovers(place) == [left]
    with partial_directory(place):
        assert left not in leftovers(place)
    assert not list(tmp_path.iterdir())


def test_what_is_in_use_and_what_is_not_ours_stays(tmp_path):
    place = tmp_path / "place"
    foreign = tmp_path / f"place.partial-{'0' * 16}"
    (foreign / "data").mkdir(parents=True)
    with partial_directory(place) as first, partial_directory(place):
        assert first.data.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [foreign.name]


def test_a_place_that_was_filled_meanwhile_is_not_touched(tmp_path):
    place = tmp_path / "place"
    with partial_directory(place) as partial:
        place.mkdir()
        (place / "mine").write_text("mine")
        with pytest.raises(StateError, match="is not empty any more"):
            partial.keep()
    assert os.listdir(place) == ["mine"] and os.listdir(tmp_path) == ["place"]


def test_where_nothing_can_be_made_it_says_so(tmp_path):
    with pytest.raises(StateError, match="cannot be written"), partial_directory(tmp_path / "no" / "place"):
        pass
