"""The tier of real S3 servers, `make test-servers`. Each is started once for a run, over TLS if it can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from backup_orchestration_tests.conftest import needed
from backup_orchestration_tests.s3_servers import SERVERS, Server, built
from scripts.build_servers import MC


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`server` is each of them in turn, unless a test says which: a worker that runs one's tests starts that one."""
    if "server" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("only_servers")
        cases = [
            pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in (marker.args if marker else SERVERS)
        ]
        metafunc.parametrize("server", cases, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of the servers, running."""
    root = tmp_path_factory.mktemp("server") / "root"
    with ExitStack() as running:
        yield needed(lambda: running.enter_context(SERVERS[request.param](root)))


@pytest.fixture(scope="session")
def mc() -> None:
    """The real mc."""
    needed(lambda: built(MC))
