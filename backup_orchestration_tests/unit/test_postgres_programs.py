"""PostgreSQL's programs: the version that is asked for, or the newest, and all of them from one directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_orchestration.core.errors import ToolMissingError
from backup_orchestration.core.postgres import POSTGRES, find_programs


def install(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    for name in ("postgres", *POSTGRES.beside):
        (directory / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Debian {version}-1)'\n")
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """97.3 unpacked by set-up, and 96.1 on `PATH` by a link to `postgres` alone; returns the environment."""
    install(tmp_path / "homelab/tools/postgres-97.3", "97.3")
    install(tmp_path / "own/bin", "96.1")
    (tmp_path / "path").mkdir()
    (tmp_path / "path/postgres").symlink_to(tmp_path / "own/bin/postgres")
    return {"PATH": str(tmp_path / "path"), "XDG_DATA_HOME": str(tmp_path)}


def test_the_newest_is_found(two: dict[str, str], tmp_path: Path) -> None:
    found = find_programs(environment=two)
    assert (found.version, found.directory) == ((97, 3), tmp_path / "homelab/tools/postgres-97.3")


def test_the_version_that_is_asked_for_is_found_where_its_link_leads(two: dict[str, str], tmp_path: Path) -> None:
    found = find_programs(96, two)
    assert (found.major, found.path("psql")) == (96, str(tmp_path / "own/bin/psql"))


def test_a_directory_without_all_of_them_is_none(two: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "homelab/tools/postgres-97.3/pg_checksums").unlink()
    with pytest.raises(ToolMissingError, match="the programs of PostgreSQL 97 are not here"):
        find_programs(97, two)
