"""Acceptance: what is wrong with a restored PostgreSQL is seen by the probe that understands it."""

from __future__ import annotations

import pytest

from backup_orchestration_tests.tools.pg_labs import drop_shop, file_of, make_shop, other_bytes, sql

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]

HEADING = "defects planted in a restored PostgreSQL: defect | probe | its words"
OPTIONS = {"unchanging": ["products"], "min_rows": {"orders": 900}}

# An index that lacks a row: what is inserted while it is not ready is not in it.
LACKING = """\
UPDATE pg_index SET indisready = false WHERE indexrelid = 'orders_customer'::regclass;
INSERT INTO orders VALUES (5000, 'nobody', '');
UPDATE pg_index SET indisready = true WHERE indexrelid = 'orders_customer'::regclass"""

SQL = {
    "table truncated": ("TRUNCATE orders", "sql", "table public.orders has 0 rows; 1,000 were counted"),
    "one row missing": ("DELETE FROM orders WHERE id = 7", "sql", "has 999 rows; 1,000 were counted before the backup"),
    "table missing": ("DROP TABLE orders", "sql", "table public.orders is missing"),
    "extension missing": ("DROP EXTENSION pg_trgm", "sql", "extension pg_trgm is missing from database shop"),
    "role missing": ("DROP ROLE shop_app", "sql", "role shop_app is missing"),
    "row changed": ("UPDATE products SET price = 0 WHERE id = 3", "sql", "products should not change, and is not what"),
    "index lacks a row": (LACKING, "amcheck", "lacks matching index tuple"),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory, new_site, postgres_cluster):
    root = tmp_path_factory.mktemp("shop")
    made = make_shop(new_site(root), postgres_cluster, root, **OPTIONS)
    yield made
    drop_shop(postgres_cluster)


def failed(evidence):
    return {item.name: item.summary for item in evidence.probes if not item.passed}


def held(matrix, name, evidence, probe, words):
    assert evidence.passed is False
    found = failed(evidence)
    assert probe in found, evidence.reason
    matrix(HEADING, name, probe, found[probe])
    assert words in found[probe]


@pytest.mark.parametrize("name", SQL)
def test_a_defect_in_what_it_holds(shop, monkeypatch, matrix, name):
    statements, probe, words = SQL[name]
    held(matrix, name, shop.test(monkeypatch, sql(statements)), probe, words)


@pytest.mark.parametrize("statement", ["DELETE FROM homelab.canary", "DROP SCHEMA homelab CASCADE"])
def test_a_canary_that_did_not_come_back(shop, monkeypatch, matrix, statement):
    evidence = shop.test(monkeypatch, sql(statement, "postgres"))
    held(matrix, f"canary absent: {statement.split()[0].lower()}", evidence, "sql", "canary absent")
    assert "older than the snapshot says" in failed(evidence)["sql"]


def test_a_database_that_did_not_come_back(shop, monkeypatch, matrix):
    evidence = shop.test(monkeypatch, sql("DROP DATABASE shop", "postgres"))
    held(matrix, "database missing", evidence, "sql", "database shop is missing")


def test_a_page_with_a_wrong_checksum_is_seen_by_whoever_reads_it(shop, monkeypatch, matrix):
    table = file_of(shop, "orders")
    evidence = shop.test(monkeypatch, other_bytes(table))
    held(matrix, "page of a table damaged", evidence, "checksums", f"wrong checksum: block 0 of {table}")
    assert "invalid page in block 0" in failed(evidence)["sql"]
    assert set(failed(evidence)) == {"sql", "amcheck", "checksums"}


def test_a_page_that_no_query_reads_is_seen_all_the_same(shop, monkeypatch, matrix):
    """The server passes over a damaged map of free space and makes it anew."""
    evidence = shop.test(monkeypatch, other_bytes(file_of(shop, "orders", "_fsm")))
    held(matrix, "checksum broken where nobody reads", evidence, "checksums", "wrong checksum: block 0")
    assert set(failed(evidence)) == {"checksums"}


def test_what_was_restored_whole_passes_though_writers_went_on(shop, monkeypatch):
    """Rows came on top, and jobs were done: no floor is under them."""
    more = "INSERT INTO orders SELECT n, 'new', '' FROM generate_series(2000, 2100) AS n;\nDELETE FROM jobs"
    evidence = shop.test(monkeypatch, sql(more))
    assert evidence.passed, evidence.reason
    assert [item.name for item in evidence.probes] == ["restore", "start", "sql", "amcheck", "checksums"]
    summaries = {item.name: item.summary for item in evidence.probes}
    assert "canary there" in summaries["sql"]
    assert "every checksum right" in summaries["checksums"]
    assert evidence.counts["rows"] >= 1101 + 20  # and what other tests have left in the cluster
    assert evidence.counts["pages"] > 1000


def test_options_say_what_else_is_expected(shop, monkeypatch):
    expected = {
        "queries": [
            {"query": "SELECT count(*) FROM products;", "database": "shop", "equals": 21},
            {"query": "SELECT max(price) FROM products", "database": "shop", "at_least": 2},
            {"query": "SELECT 1 WHERE false", "equals": 1},
        ],
        "min_rows": {"orders": 1001, "lost_and_found": 1},
    }
    shop.declare(**expected)
    try:
        evidence = shop.test(monkeypatch, lambda root: None)
    finally:
        shop.declare(**OPTIONS)
    said = failed(evidence)["sql"]
    assert "shop: table public.orders has 1,000 rows, at least 1,001 are expected" in said
    assert "no database has a table public.lost_and_found" in said
    assert "'SELECT count(*) FROM products;' gives 20, 21 is expected" in said
    assert "and 1 more" in said
