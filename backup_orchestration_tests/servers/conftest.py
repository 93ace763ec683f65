"""The tier of real S3 servers, `make test-servers`. Each is started once for a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from backup_orchestration_tests.conftest import needed
from backup_orchestration_tests.s3_servers import SERVERS, Server, built, moto
from scripts.build_servers import MC


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`server` and `plain_server` are each in turn, unless a test says which; one worker runs all tests of one."""
    marker = metafunc.definition.get_closest_marker("only_servers")
    names = marker.args if marker else SERVERS
    for fixture in {"server", "plain_server"} & set(metafunc.fixturenames):
        cases = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]
        metafunc.parametrize(fixture, cases, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of the servers, running, over TLS if it can."""
    root = tmp_path_factory.mktemp("server") / "root"
    with ExitStack() as running:
        yield needed(lambda: running.enter_context(SERVERS[request.param](root)))


@pytest.fixture(scope="session")
def plain_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of the servers, running without TLS: `localhost` and `127.0.0.1` are two endpoints of it."""
    root = tmp_path_factory.mktemp("server") / "root"
    start = SERVERS[request.param]
    with ExitStack() as running:
        yield needed(lambda: running.enter_context(start(root) if start is moto else start(root, tls=False)))


@pytest.fixture(scope="session")
def mc() -> None:
    """The real mc."""
    needed(lambda: built(MC))
