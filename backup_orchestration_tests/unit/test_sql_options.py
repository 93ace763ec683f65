"""What can be asked of a restored PostgreSQL, and what cannot."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from backup_orchestration.contributors.postgres import PostgresDatabase
from backup_orchestration.core.errors import PolicyError
from backup_orchestration.core.sources import PgDump, Postgres
from backup_orchestration.probes._census import _like, matches
from backup_orchestration.probes._sql_options import Query, SqlOptions
from backup_orchestration.probes.sql import _differences


def test_a_table_without_a_schema_is_in_public():
    options = SqlOptions.model_validate({"min_rows": {"orders": 1, "audit.log": 2}, "uncounted": ["*", "cache_*"]})
    assert options.min_rows == {"public.orders": 1, "audit.log": 2}
    assert options.uncounted == ("*", "public.cache_*")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queries": [{"query": "SELECT 1"}]}, "either `equals` or `at_least`"),
        ({"queries": [{"query": "SELECT 1", "equals": 1, "at_least": 1}]}, "either `equals` or `at_least`"),
        ({"may_lose": {"orders": 1.5}}, "less than or equal to 1"),
        ({"min_rows": {"orders": -1}}, "greater than or equal to 0"),
        ({"min_rows": {"": 1}}, "a table needs a name"),
        ({"rows": 1}, "Extra inputs"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        SqlOptions.model_validate(options)


def test_null_can_be_the_expected_answer():
    assert Query.model_validate({"query": "SELECT NULL", "equals": None}).equals is None


@pytest.mark.parametrize(
    ("table", "pattern", "same"),
    [
        ("public.orders", "public.orders", True),
        ("public.orders_2026", "public.orders*", True),
        ("audit.log", "*", True),
        ("public.a1", "public.a?", True),
        ("public.orders", "public.order", False),
        ("public.a[1]", "public.a[1]", True),
        ("public.a1", "public.a[1]", False),
    ],
)
def test_a_pattern_means_tables(table, pattern, same):
    assert matches(table, pattern) is same


def test_the_server_is_given_patterns_in_its_own_words():
    assert _like([]) == "false"
    assert _like(["a_b%*?'", "c"]) == r"format('%I.%I', nspname, relname) LIKE ANY (ARRAY['a\_b\%%_''', 'c'])"


def held(then, now, **options):
    def census(tables):
        return {"roles": [], "databases": {"shop": {"extensions": [], "tables": tables, "fingerprints": {}}}}

    return list(_differences(census(then), census(now), SqlOptions.model_validate(options)))


@pytest.mark.parametrize(
    ("rows", "deleted", "found", "options", "whole"),
    [
        (100, 0, 100, {}, True),
        (100, 0, 200, {}, True),
        (100, 0, 99, {}, False),
        (100, 3, 97, {}, True),
        (100, 3, 96, {}, False),
        (5, 10_000, 0, {}, True),
        (100, 10_000, 99, {"may_lose": {"t": 0}}, False),
        (100, 0, 90, {"may_lose": {"t": 0.1}}, True),
        (100, 0, 89, {"may_lose": {"t": 0.1}}, False),
        (100, 0, 89, {"may_lose": {"t": 0.2, "*": 0}}, True),
        (100, 0, 99, {"may_lose": {"other": 1.0}}, False),
        (100, 0, 0, {"may_lose": {"*": 1.0}}, True),
    ],
)
def test_as_many_rows_may_be_missing_as_were_ever_deleted_or_as_the_policy_says(rows, deleted, found, options, whole):
    assert (held({"public.t": [rows, deleted]}, {"public.t": [found, 0]}, **options) == []) is whole


def test_a_table_that_is_gone_is_missing_whatever_it_may_lose():
    assert "table public.t is missing" in held({"public.t": [1, 99]}, {}, may_lose={"*": 1.0})[0]
    assert held({"public.t": [1, 99]}, {}, uncounted=["t"]) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"database": ""},
        {"database": "a\nb"},
        {"database": "a", "host": "one,two"},
        {"database": "a", "host": "relative/path"},
        {"database": "a", "options": ["--format=plain"]},
        {"database": "a", "options": ["--file=/etc/passwd"]},
        {"database": "a", "options": ["-Fp"]},
        {"database": "a", "passfile": "relative"},
    ],
)
def test_a_dump_that_would_not_be_one_is_refused(fields):
    with pytest.raises(ValidationError):
        PgDump(**fields)


def test_a_dump_is_stored_under_a_name_that_any_file_system_takes():
    assert PgDump(database="shop").filename == "shop.dump"
    assert PgDump(database="../a b/ü").filename == "_a_b__.dump"


def test_a_cluster_goes_through_pgbackrest_and_a_database_through_restic():
    (cluster,) = PostgresDatabase("shop", Postgres(data="/srv/pg"), expect={"min_rows": {"a": 1}}).policies()
    (dump,) = PostgresDatabase("blog", PgDump(database="blog"), name="db").policies()
    assert (cluster.target, cluster.provider) == ("shop/postgres", "pgbackrest")
    assert [probe.name for probe in cluster.probes] == ["sql", "amcheck", "checksums"]
    assert cluster.probes[0].options == {"min_rows": {"a": 1}}
    assert (dump.target, dump.provider) == ("blog/db", "restic")
    assert [probe.name for probe in dump.probes] == ["files", "sql"]


def test_a_probe_of_postgres_is_refused_for_anything_else(site):
    site.declare('BackupPolicy(target="app/files", source=Files(path=HERE / "data"), '
                 'restore_test=RestoreTest(probes=["sql"]))')  # fmt: skip
    with pytest.raises(PolicyError, match="it cannot look at files"):
        _ = site.homelab
