"""Installations with a real restic repository, made once and copied."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from backup_orchestration.core import tools
from backup_orchestration.core.postgres import find_programs
from backup_orchestration.providers._pgbackrest_cli import PGBACKREST
from backup_orchestration_tests.conftest import needed
from backup_orchestration_tests.postgres_cluster import running_cluster


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory, new_site, restic):
    """A directory with an empty repository whose password costs 50 ms instead of 500 with every call.

    restic makes that cost half a second on the machine that makes the repository; this one is made slow for it.
    """
    site = new_site(tmp_path_factory.mktemp("empty"))
    repository = site.root / "repository"
    env = {
        **os.environ,
        "RESTIC_REPOSITORY": str(repository),
        "RESTIC_PASSWORD_FILE": str(site.root / "secrets" / "password"),
    }
    making = subprocess.Popen([str(restic), "init", "--quiet", "--no-cache"], env=env)
    while making.poll() is None:
        time.sleep(0.01)
        making.send_signal(signal.SIGSTOP)
        time.sleep(0.08)
        making.send_signal(signal.SIGCONT)
    assert making.returncode == 0
    return repository


@pytest.fixture(scope="session")
def start_repository(empty_repository) -> Callable:
    """Gives a site an empty repository for each of these targets."""

    def start(site, *targets):
        for target in targets:
            shutil.copytree(empty_repository, site.homelab.repository(target).location)
        return site

    return start


@pytest.fixture(scope="session")
def template(tmp_path_factory, new_site, start_repository):
    """A site with one snapshot of `app/files` and the evidence that it passed."""
    site = start_repository(new_site(tmp_path_factory.mktemp("template")), "app/files")
    site.backup()
    assert site.restore_test().passed
    return site


@pytest.fixture
def kept(template, tmp_path):
    """A copy of it: something to lose."""
    for name in ("backups", "data", "evidence", "secrets"):
        shutil.copytree(template.root / name, tmp_path / name, symlinks=True)
    for name in ("homelab.toml", "services.py"):
        shutil.copy2(template.root / name, tmp_path / name)
    return type(template)(tmp_path)


@pytest.fixture
def matrix(record_property):
    """Puts a row on record; the run's end shows all rows of a heading as one table."""
    return lambda heading, *row: record_property("matrix", {"heading": heading, "row": row})


@pytest.fixture(scope="session")
def postgres_cluster(tmp_path_factory):
    """A cluster with checksums, on a Unix socket; its WAL goes where the last test sent it."""
    needed(lambda: find_programs().directory)
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def pgbackrest():
    """The real pgBackRest."""
    return needed(lambda: tools.find(PGBACKREST).path)
