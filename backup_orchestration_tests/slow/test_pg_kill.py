"""PostgreSQL: backups and restore tests, killed at ten moments each, leave no server, no lab and no lock."""

import signal

import pytest
from pg_kills import KILLED, STAGES, kill_backup, kill_restore_test, killed_shop

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
IN_STAGES = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, new_site, postgres_cluster):
    with killed_shop(tmp_path_factory.mktemp("shop"), new_site, postgres_cluster) as made:
        yield made


@pytest.fixture
def killed(shop, tmp_path, dagster_home, chance, matrix):
    def look(stage, who, number):
        delay = chance.uniform(0, stage.seconds)
        matrix(KILLED, *kill_restore_test(shop, tmp_path, dagster_home, stage, who, number, delay))

    return look


@pytest.mark.parametrize("moment", range(10))
def test_a_backup_is_killed(pg_copy, moment, chance, matrix):
    matrix(KILLED, "backup", *kill_backup(pg_copy, chance))


@IN_STAGES
@SIGNALS
def test_a_restore_test_is_killed(killed, stage, number):
    killed(stage, "command", number)


@IN_STAGES
@SIGNALS
def test_its_worker_is_killed(killed, stage, number):
    killed(stage, "worker", number)
