"""Options of the probe `sql`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from backup_orchestration.core.frozen import Frozen, tuple_of


def _qualified(name: str) -> str:
    """A table without a schema is in `public`."""
    if not name:
        raise ValueError("a table needs a name")
    return name if "." in name or name == "*" else f"public.{name}"


Table = Annotated[str, AfterValidator(_qualified)]
Tables = Annotated[tuple[Table, ...], BeforeValidator(tuple_of)]
Share = Annotated[float, Field(ge=0, le=1, strict=False)]


class Query(Frozen):
    """One question, and what its answer must be.

    Attributes:
        query: a SELECT that gives one row with one column.
        database: where it is asked; default: of a dump, the one that was dumped; else `postgres`.
        equals: the answer.
        at_least: the least that the answer may be.
    """

    query: Annotated[str, Field(min_length=1)]
    database: str | None = None
    equals: str | int | float | bool | None = None
    at_least: int | float | None = None

    @model_validator(mode="after")
    def _one_expectation(self) -> Self:
        if ("equals" in self.model_fields_set) == ("at_least" in self.model_fields_set):
            raise ValueError("give it either `equals` or `at_least`")
        return self


class SqlOptions(Frozen):
    """Options of the probe. A table is named `schema.table`, or `table` in `public`; `*` and `?` stand for any text.

    Attributes:
        databases: only these; default: all.
        uncounted: tables whose rows are not counted.
        may_lose: share of the rows counted before the backup that may be missing, by table; the first that matches. Of
            other tables: as many rows as were ever deleted from them, as the server's statistics know.
        min_rows: least rows of a table, in every database that has it.
        unchanging: tables that must come back exactly as they were before the backup began.
        queries: questions of your own.
    """

    databases: Annotated[tuple[str, ...], BeforeValidator(tuple_of)] = ()
    uncounted: Tables = ()
    may_lose: Mapping[Table, Share] = Field(default_factory=dict)
    min_rows: Mapping[Table, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    unchanging: Tables = ()
    queries: Annotated[tuple[Annotated[Query, Field(strict=False)], ...], BeforeValidator(tuple_of)] = ()
