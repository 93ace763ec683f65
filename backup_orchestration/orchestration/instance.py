"""Dagster's home of an installation, and the instance in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import dagster as dg

# Opening any instance imports it, which takes half a second: here, once, before workers are forked.
from dagster._core.storage import sqlite_storage  # noqa: F401

from backup_orchestration.core.errors import StateError
from backup_orchestration.core.private_files import private_directory, write_atomically
from backup_orchestration.homelab.load import Homelab


def dagster_home(homelab: Homelab) -> Path:
    """Where it is."""
    return homelab.home / "dagster"


def has_storage(homelab: Homelab) -> bool:
    """Whether Dagster's SQLite storage has been made there."""
    history = dagster_home(homelab) / "history"
    return (history / "runs.db").exists() and (history / "runs" / "index.db").exists()


def prepare_home(homelab: Homelab) -> Path:
    """Make the home and its dagster.yaml if they are missing; returns the home.

    Raises:
        StateError: they cannot be made.
    """
    try:
        home = private_directory(dagster_home(homelab))
        if not (home / "dagster.yaml").exists():
            write_atomically(home / "dagster.yaml", files(__package__).joinpath("dagster.yaml").read_bytes())
    except OSError as error:
        raise StateError(
            f"{dagster_home(homelab)} cannot be written: {error.strerror}",
            remedy="see its owner and mode, or set `home`",
        ) from error
    return home


@contextmanager
def open_instance(homelab: Homelab) -> Iterator[dg.DagsterInstance]:
    """The instance of this installation. Its home is named in the environment: Dagster's own processes read it."""
    home = prepare_home(homelab)
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.get() as instance:
        yield instance
