"""Shared by all tests: small installations in a temporary directory, with real files and the real restic."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401 - its plugin imports it at the end, and warns when a command here has frozen the collector
import pytest
from running import Started, wait_until

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, Completed, run
from backup_orchestration.core.errors import ToolMissingError
from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.postgres import find_programs
from backup_orchestration.core.redaction import REDACTOR, Redactor
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.status import Assessment
from backup_orchestration.homelab.load import Homelab, load
from backup_orchestration.operations.backup import backup
from backup_orchestration.operations.restore_test import restore_test
from backup_orchestration.operations.status import judge
from backup_orchestration.providers._pgbackrest_cli import PGBACKREST
from backup_orchestration.providers._restic_cli import RESTIC
from backup_orchestration_tests.postgres_cluster import running_cluster
from backup_orchestration_tests.tools.pg_sites import PgSite

SETTINGS = """\
contributors = ["./services.py"]
[destinations.default]
location = "backups"
password = { file = "secrets/password" }
[evidence]
location = "evidence"
key = { file = "secrets/evidence-key" }
"""

SERVICES = """\
from pathlib import Path
from backup_orchestration import *
HERE = Path(__file__).parent
class Services:
    def policies(self):
        return [
{policies}
        ]
contributor = Services()
"""

FILES = 'BackupPolicy(target="app/files", source=Files(path=str(HERE / "data")))'
SQLITE = 'BackupPolicy(target="app/db", source=Sqlite(path=str(HERE / "app.db")))'


@dataclass
class Site:
    """One installation below a directory; `homelab` loads it afresh."""

    root: Path
    clock: Callable[[], datetime] | None = None

    @property
    def homelab(self) -> Homelab:
        loaded = load(self.root / "homelab.toml", {})
        return loaded if self.clock is None else replace(loaded, now=self.clock)

    def declare(self, *policies: str) -> Site:
        """Write services.py with these `BackupPolicy(...)` expressions; HERE is the site's directory."""
        body = "".join(f"            {policy},\n" for policy in policies)
        (self.root / "services.py").write_text(SERVICES.format(policies=body))
        return self

    def backup(self, target: str = "app/files", run_id: str | None = None) -> Snapshot:
        return backup(self.homelab, target, run_id or os.urandom(8).hex())

    def restore_test(self, target: str = "app/files", key: str | None = None) -> Evidence:
        wanted = key or self.homelab.repository(target).latest().key
        return restore_test(self.homelab, target, wanted, os.urandom(8).hex())

    def judge(self, target: str = "app/files") -> Assessment:
        return judge(self.homelab, target)

    def cli(self, *arguments: str, env: dict[str, str] | None = None) -> Completed:
        """Run the real command in a process of its own, in the site's directory."""
        argv = [sys.executable, "-m", "backup_orchestration.cli.main", *arguments]
        passed = {key: os.environ[key] for key in ("HOMELAB_TOOLS", "XDG_DATA_HOME") if key in os.environ}
        return run(Command(argv, 300, {**passed, **(env or {})}, self.root))

    def packs(self, target: str = "app/files") -> list[Path]:
        data = self.root / "backups" / f"restic-{target.replace('/', '-')}" / "data"
        return sorted(path for path in data.rglob("*") if path.is_file())


def make_site(root: Path) -> Site:
    """A site with secrets, a small tree in `data`, and the target `app/files` declared on it."""
    (root / "secrets").mkdir(mode=0o700)
    (root / "secrets" / "password").write_text("correct horse battery\n")
    (root / "secrets" / "evidence-key").write_text("staple of evidence\n")
    (root / "homelab.toml").write_text(SETTINGS)
    data = root / "data"
    (data / "sub").mkdir(parents=True)
    (data / "one.txt").write_text("one\n")
    (data / "sub" / "two.bin").write_bytes(bytes(range(256)) * 64)
    (data / "link").symlink_to("one.txt")
    return Site(root).declare(FILES)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """See `make_site`."""
    return make_site(tmp_path)


@pytest.fixture(scope="session")
def new_site() -> Callable[[Path], Site]:
    """`make_site`, for fixtures of a wider scope."""
    return make_site


@pytest.fixture(autouse=True)
def _no_secret_of_another_test() -> Iterator[None]:
    """What a test's secrets are is masked in that test: the word `secret` may be one, and stands in many messages."""
    known = dict(vars(REDACTOR))
    vars(REDACTOR).update(vars(Redactor()))
    yield
    vars(REDACTOR).update(known)


@pytest.fixture(scope="session", autouse=True)
def _tools_are_there() -> None:
    """With REQUIRE_TOOLS=1, a missing tool is a failure and never a skip."""
    if os.environ.get("REQUIRE_TOOLS") == "1":
        tools.find(RESTIC)


def needed(find: Callable[[], Path]) -> Path:
    """What this finds; without it the test is skipped, or fails with REQUIRE_TOOLS=1."""
    try:
        return find()
    except ToolMissingError as error:
        if os.environ.get("REQUIRE_TOOLS") == "1":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def restic() -> Path:
    """The real restic."""
    return needed(lambda: tools.find(RESTIC).path)


@pytest.fixture
def swept(tmp_path: Path) -> Iterator[Path]:
    """A directory in which trees may grow so deep that pytest could not remove what a failing test leaves."""
    yield tmp_path
    run(Command(["chmod", "-R", "u+rwx", str(tmp_path)], 60))
    run(Command(["rm", "-rf", str(tmp_path)], 60))


@pytest.fixture
def matrix(record_property):
    """Puts a row on record; the run's end shows all rows of a heading as one table."""
    return lambda heading, *row: record_property("matrix", {"heading": heading, "row": row})


@pytest.fixture(scope="session")
def dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster home with empty storage, to be copied: making one takes seconds."""
    from backup_orchestration.orchestration.instance import open_instance, prepare_home

    site = make_site(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        with open_instance(site.homelab) as instance:
            assert instance.get_runs_count() == 0
    return prepare_home(site.homelab)


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory, restic: Path) -> Path:
    """A directory with an empty repository whose password costs 50 ms instead of 500 with every call.

    restic makes that cost half a second on the machine that makes the repository; this one is made slow for it.
    """
    site = make_site(tmp_path_factory.mktemp("empty"))
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
def start_repository(empty_repository: Path) -> Callable[..., Site]:
    """Gives a site an empty repository for each of these targets."""

    def start(site: Site, *targets: str) -> Site:
        for target in targets:
            shutil.copytree(empty_repository, site.homelab.repository(target).location)
        return site

    return start


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


@pytest.fixture(scope="session")
def pg_kept(tmp_path_factory, postgres_cluster, pgbackrest):
    """A repository with a full backup and an incremental one on it, of a cluster with a table that changes."""
    site = PgSite(tmp_path_factory.mktemp("pg-kept") / "site", postgres_cluster, source={"backup": "incr"}).archive()
    # Files of 2 MiB and more are stored by themselves, the others in bundles.
    postgres_cluster.sql(
        "CREATE TABLE big AS SELECT n, repeat(md5(n::text), 8) AS text FROM generate_series(1, 20000) n"
    )
    full = site.backup()
    postgres_cluster.sql("CREATE TABLE small AS SELECT n FROM generate_series(1, 1000) n")
    return site, full, site.backup()


@pytest.fixture
def pg_copy(tmp_path, pg_kept):
    """A copy of it to damage: the site, the full backup and the incremental one."""
    site, full, incremental = pg_kept
    copy = PgSite(tmp_path / "site", site.cluster, source=site.source)
    shutil.copytree(site.root / "backups", copy.root / "backups", symlinks=True)
    return copy, full, incremental


@pytest.fixture(scope="session")
def moto():
    """moto's S3 server, in threads of this process."""
    from backup_orchestration_tests.mirrors import MotoServer

    server = MotoServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def small_parts():
    """moto takes parts of any size, and no object is too small for a copy on the server, so that none need be large."""
    import moto.s3.models

    from backup_orchestration.providers.mirror import copying

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1)
        patch.setattr(copying, "_SMALL", -1)
        yield


@pytest.fixture
def start(site: Site) -> Iterator[Callable[..., Started]]:
    """Start a command; what still runs after the test is killed."""
    begun: list[Started] = []

    def run(*arguments: str) -> Started:
        begun.append(Started(site, *arguments))
        return begun[-1]

    yield run
    for item in begun:
        if item.process.poll() is None:
            item.process.kill()
            item.process.wait()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for something to become true, and return it."""
    return wait_until


def pytest_configure() -> None:
    """Dagster leaves SIGTERM doing what SIGINT does; started with `&` by a script it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what means nothing to this user, and start what takes longest first, so that no worker ends alone."""
    left = [item for item in items if item.get_closest_marker("unprivileged" if os.geteuid() == 0 else "root")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rows that tests put on record with `matrix`, a table for each heading, also under xdist."""
    tables: dict[str, list[tuple[str, ...]]] = {}
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties if report.when == "call" else ():
            if name == "matrix":
                tables.setdefault(value["heading"], []).append(tuple(value["row"]))
    for heading, rows in sorted(tables.items()):
        terminalreporter.section(heading)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row, count in sorted(Counter(rows).items()):
            cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
            cells += [f"{count} times"] if count > 1 else []
            terminalreporter.write_line(" | ".join(cells).rstrip())
