"""What Dagster stores of an error holds no secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backup_orchestration.core.redaction import harmless


@contextmanager
def without_secrets() -> Iterator[None]:
    """Whatever leaves the block is a `HomelabError` with a cleaned text and no cause.

    Dagster keeps the text of an exception and of all its causes, in its storage and in the logs of its processes.
    Code of other people, contributors and providers, may write into them what it likes.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, its text may hold a secret
        raise harmless(error) from None
