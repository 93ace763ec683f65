"""The tree of errors: drawn as it is, and whole after a journey between processes."""

from __future__ import annotations

import pickle
import re

import pytest

from backup_orchestration.core import errors
from backup_orchestration.core.errors import HomelabError, ProbeFailedError, RestoreTestFailedError, UsageError

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HomelabError)]


def test_the_tree_at_the_top_of_the_module_is_the_tree():
    drawn: dict[str, str] = {}
    parents: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"([│ ]*)([├└]── )?(\w+Error)\b", line)
        if match:
            depth = len(match.group(1)) // 4 + bool(match.group(2))
            parents[depth:] = [match.group(3)]
            drawn[match.group(3)] = parents[depth - 1] if depth else "Exception"
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in ALL}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_way_from_a_worker(kind):
    error = pickle.loads(pickle.dumps(kind("it broke", remedy="mend it")))
    assert type(error) is kind
    assert (error.message, error.remedy, str(error)) == ("it broke", "mend it", "it broke (mend it)")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_only_what_was_asked_wrongly_exits_with_two(kind):
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)


def test_a_failed_restore_test_says_which_step_refused():
    assert RestoreTestFailedError("x").probe == "restore"
    assert ProbeFailedError("x", probe="files").probe == "files"
    assert str(ProbeFailedError("x")) == "x"
