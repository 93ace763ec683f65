"""Policies: targets, strictness, and which probes a target gets."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

import backup_orchestration
from backup_orchestration import BackupPolicy, Contributor, Dump, Files, Probe, RestoreTest, Retention, Sqlite

FILES = Files(path="/srv/data")


@pytest.mark.parametrize("target", ["gitlab/postgres", "a/b", "a-1/b-2", "0/9"])
def test_a_target_is_two_words(target):
    policy = BackupPolicy(target=target, source=FILES)
    assert f"{policy.service}/{policy.name}" == target
    assert "/" not in policy.slug


@pytest.mark.parametrize(
    "target",
    [
        "",
        "a",
        "a/",
        "/b",
        "a/b/c",
        "A/b",
        "a_b/c",
        "a/b ",
        "-a/b",
        "a-/b",
        "a--b/c",
        "a/b\n",
        "ä/b",
        "../b",
        f"{'a' * 99}/b",
    ],
)
def test_what_is_no_target_is_refused(target):
    with pytest.raises(ValidationError, match="target"):
        BackupPolicy(target=target, source=FILES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "/srv/data"},
        {"source": {"path": "/srv/data"}},
        {"source": {"kind": "bucket", "path": "/srv/data"}},
        {"cron": 2},
        {"cron": "0 2 31 2 *"},
        {"timezone": "Berlin"},
        {"retention": 7},
        {"retention": {"keep_last": "7"}},
        {"retention": {"keep_last": True}},
        {"retention": {"keep_last": -1}},
        {"retention": {"keep_forever": 1}},
        {"rpo": "1 day"},
        {"rpo": 86400},
        {"rpo": timedelta(seconds=59)},
        {"rpo": timedelta(days=-1)},
        {"restore_test": {"probes": "files"}},
        {"restore_test": {"probes": ["No Probe"]}},
        {"restore_test": {"probes": [7]}},
        {"provider": "Restic"},
        {"destination": ""},
        {"hooks": []},
    ],
    ids=str,
)
def test_a_wrong_field_is_refused_and_named(wrong):
    with pytest.raises(ValidationError) as refused:
        BackupPolicy(**{"target": "a/b", "source": FILES, **wrong})
    assert {error["loc"][0] for error in refused.value.errors()} == set(wrong)


def test_a_retention_that_keeps_nothing_is_refused():
    with pytest.raises(ValidationError, match="would keep nothing"):
        Retention(keep_last=0, keep_daily=0, keep_weekly=0, keep_monthly=0)


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (BackupPolicy(target="a/b", source=FILES), "cron"),
        (FILES, "path"),
        (Retention(), "keep_last"),
        (RestoreTest(), "probes"),
        (Probe(name="files"), "name"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_was_declared_cannot_be_changed_afterwards(part, field):
    before = getattr(part, field)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(part, field, before)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (FILES, ["files"]),
        (Sqlite(path="/srv/app.db"), ["files", "sqlite"]),
        (Dump(command=["pg_dump"], filename="app.sql"), ["files"]),
    ],
    ids=["files", "sqlite", "dump"],
)
def test_each_kind_of_source_gets_its_probes_without_asking(source, names):
    assert [probe.name for probe in BackupPolicy(target="a/b", source=source).probes] == names


def test_declared_probes_come_besides_and_bring_their_options():
    options = {"min_rows": {"users": 3}}
    policy = BackupPolicy(
        target="a/b",
        source=Sqlite(path="/srv/app.db"),
        restore_test=RestoreTest(probes=["http", Probe(name="sqlite", options=options)]),
    )
    assert {probe.name: dict(probe.options) for probe in policy.probes} == {"files": {}, "sqlite": options, "http": {}}


def test_a_probe_declared_twice_is_refused_instead_of_losing_one():
    first, second = (Probe(name="sqlite", options={"min_rows": {table: 1}}) for table in ("users", "orders"))
    with pytest.raises(ValidationError, match="twice"):
        RestoreTest(probes=[first, second])


def test_what_a_contributor_needs_is_at_the_top_of_the_package():
    namespace: dict[str, object] = {}
    exec("from backup_orchestration import *", namespace)
    assert namespace["BackupPolicy"] is BackupPolicy
    assert set(backup_orchestration.__all__) <= set(namespace)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = backup_orchestration.Nothing


def test_anything_with_policies_is_a_contributor():
    class Service:
        def policies(self):
            return []

    assert isinstance(Service(), Contributor)
    assert not isinstance(object(), Contributor)
