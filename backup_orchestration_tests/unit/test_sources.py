"""Sources: which paths and exclusions are refused because they could not mean what a person wants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from pydantic import ValidationError

from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.core.sources import Bucket, Dump, Files, Sqlite


@pytest.mark.parametrize("kind", [Files, Sqlite])
@pytest.mark.parametrize("path", ["data", "./data", "", "/srv/../etc", "/", "//", 7, b"/srv", None])
def test_a_path_that_is_not_one_absolute_place_is_refused(kind, path):
    with pytest.raises(ValidationError):
        kind(path=path)


def test_a_home_directory_is_written_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Files(path="~/notes").path == Path("/home/somebody/notes")


def test_two_leading_slashes_are_one():
    assert str(Files(path="//srv/data").path) == "/srv/data"


@pytest.mark.parametrize(
    "pattern",
    ["*", "?*", "data", "d*", "srv", "s??", "/srv/data", "/srv"],
    ids=["all", "any", "name", "prefix", "parent", "parent-glob", "path", "parent-path"],
)
def test_an_exclusion_that_swallows_the_root_is_refused(pattern):
    with pytest.raises(ValidationError, match="would leave nothing of /srv/data"):
        Files(path="/srv/data", exclude=["*.tmp", pattern])


@pytest.mark.parametrize("pattern", ["", "[ab]", "{a,b}", "a\\b", "!keep", "a\nb", "sub/cache", "/srv/data/*.tmp"])
def test_an_exclusion_that_tools_read_differently_is_refused(pattern):
    with pytest.raises(ValidationError, match="exclude"):
        Files(path="/srv/data", exclude=[pattern])


@pytest.mark.parametrize(
    ("pattern", "path", "excluded"),
    [
        ("*.tmp", "/srv/data/deep/down/x.tmp", True),
        ("*.tmp", "/srv/data/x.tmp.txt", False),
        ("cache", "/srv/data/a/cache", True),
        ("cache", "/srv/data/a/cache/b", False),  # a walk has stopped at its parent
        ("/srv/data/cache", "/srv/data/cache", True),
        ("/srv/data/cache", "/srv/data/a/cache", False),
        ("Cache", "/srv/data/cache", False),
    ],
)
def test_names_match_at_any_depth_and_paths_exactly(pattern, path, excluded):
    assert Files(path="/srv/data", exclude=[pattern]).excludes(PurePosixPath(path)) is excluded


@pytest.mark.parametrize(
    "fields",
    [
        {"command": [], "filename": "x.sql"},
        {"command": "pg_dump app", "filename": "x.sql"},
        {"command": ["pg_dump", 7], "filename": "x.sql"},
        {"command": ["pg_dump"], "filename": "../x.sql"},
        {"command": ["pg_dump"], "filename": ".hidden"},
        {"command": ["pg_dump"], "filename": "x.sql\n"},
        {"command": ["pg_dump"]},
        {"command": ["pg_dump"], "filename": "x.sql", "shell": True},
    ],
    ids=["no-command", "shell-line", "number", "way-out", "hidden", "newline", "no-filename", "unknown-field"],
)
def test_a_dump_that_could_not_be_run_or_stored_is_refused(fields):
    with pytest.raises(ValidationError):
        Dump(**fields)


BUCKET = {
    "endpoint": "https://store.example:9000",
    "bucket": "registry",
    "access_key": SecretRef(name="access"),
    "secret_key": SecretRef(name="secret"),
}


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "https://user:word@store.example"},
        {"endpoint": "store.example"},
        {"bucket": "No"},
        {"bucket": "registry/blobs"},
        {"access_key": "the key itself"},
        {"ca": "ca.pem"},
        {"least_share": 1.5},
    ],
)
def test_a_bucket_that_could_not_be_read_is_refused(fields):
    with pytest.raises(ValidationError):
        Bucket(**{**BUCKET, **fields})


@pytest.mark.parametrize(
    ("prefix", "place", "held"),
    [
        ("", "backups", True),
        ("", "", True),
        ("back", "backups", True),
        ("backups/lab/x", "backups/lab", True),
        ("uploads/", "backups", False),
        ("backups2/", "backups", False),
    ],
)
def test_a_bucket_knows_what_lies_in_it(prefix, place, held):
    source = Bucket(**BUCKET, prefix=prefix)
    assert source.holds(replace(source.place("x"), prefix=place)) is held
    assert not source.holds(replace(source.place("x"), prefix=place, bucket="another"))
