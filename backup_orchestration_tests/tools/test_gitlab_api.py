"""The stand-in for GitLab's API on a real database: live, and as the probe `http` starts it on a restored one."""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from backup_orchestration.contributors.gitlab import GitLab
from backup_orchestration.core.commands import check
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.sources import Postgres
from backup_orchestration.devlab import gitlab_api, postgres
from backup_orchestration.probes.base import Restored
from backup_orchestration.probes.http import HttpOptions, HttpProbe
from backup_orchestration_tests.unit.records import NOW, snapshot

pytestmark = [pytest.mark.tools, pytest.mark.xdist_group("postgres")]

HEADING = "defects planted in restored services: defect | probe | its words"
TOKEN = "glpat-of-a-person"
API = (
    *(sys.executable, "-P", "-m", gitlab_api.__name__),
    *("{port}", "{database_programs}", "{socket}", "{database_port}", "{database_user}"),
)
TOKENS = "personal_access_tokens"
DEFECTS = {
    "token not in the database": (f"DELETE FROM {TOKENS}", "with credentials: status 401, 200 was expected"),
    "token revoked": (f"UPDATE {TOKENS} SET revoked = true", "with credentials: status 401, 200 was expected"),
    "token of another digest": (f"UPDATE {TOKENS} SET token_digest = 'x'", "with credentials: status 401, 200"),
    "settings empty": ("DELETE FROM application_settings", "with credentials: no whole answer in HTTP"),
    "tokens of anybody": (
        f"UPDATE {TOKENS} SET token_digest = '{gitlab_api.digest('')}'",
        "with credentials: status 401, 200 was expected",
    ),
}


@pytest.fixture(scope="module")
def database(postgres_cluster):
    """The lab's database in the shared cluster."""
    server = postgres_cluster.server
    postgres.fill(server, TOKEN)
    postgres.fill(server, "another")  # it is there: nothing is done
    yield server
    check(server.command("dropdb", "--force", gitlab_api.DATABASE))


@pytest.fixture
def restored(database, tmp_path):
    """A database that came back, and the options of the probe that asks it."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    source = Postgres(data="/srv/gitlab/postgres")
    gitlab = GitLab(
        Path("/etc/gitlab"), Path("/srv/git"), database=source, api=API, token=tmp_path / "token", stand_in=True
    )
    policy = gitlab.policies()[0]
    (tmp_path / "lab" / "data").mkdir(parents=True)
    found = Restored(tmp_path / "lab" / "data", policy, snapshot(), NOW, database)
    (probe,) = (item for item in policy.probes if item.name == "http")
    return found, HttpOptions.model_validate(dict(probe.options))


def test_the_version_is_told_to_who_shows_the_token(database):
    with gitlab_api.StandIn(0, database) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def ask(path, **headers):
            request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}{path}", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return answer.status, json.loads(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.loads(error.read())

        version = (200, {"version": "17.5.2-stand-in", "revision": "stand-in"})
        assert ask("/api/v4/version", Private_Token="x")[0] == 401
        assert ask("/api/v4/version", **{"PRIVATE-TOKEN": TOKEN}) == version
        assert ask("/api/v4/version", Authorization=f"Bearer {TOKEN}") == version
        assert ask("/api/v4/version", Authorization=TOKEN)[0] == 401
        assert ask("/api/v4/version") == (401, {"message": "401 Unauthorized"})
        assert ask("/api/v4/version", **{"PRIVATE-TOKEN": "' OR true --"})[0] == 401
        assert ask("/api/v4/projects", **{"PRIVATE-TOKEN": TOKEN})[0] == 404
        assert ask("/-/readiness") == (200, {"status": "ok"})
        server.shutdown()


def test_what_people_write_is_there(database):
    def notes():
        return database.rows("SELECT count(*) AS n FROM notes", gitlab_api.DATABASE)[0]["n"]

    before = notes()
    postgres.write(database)
    assert notes() == before + 1 >= 40_001


def test_a_database_that_came_back_answers(restored):
    found = HttpProbe().check(*restored)
    assert found.summary.startswith("2 request(s) to the application answered as they should")


def test_the_wrong_token_is_red(restored, tmp_path, matrix):
    (tmp_path / "token").write_text("glpat-of-nobody\n")
    with pytest.raises(ProbeFailedError) as failed:
        HttpProbe().check(*restored)
    matrix(HEADING, "wrong token", "http", failed.value.message)
    assert failed.value.message == "GET /api/v4/version with credentials: status 401, 200 was expected"


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_in_the_database(restored, database, matrix, name):
    statement, words = DEFECTS[name]
    rows = {
        table: database.rows(f"SELECT * FROM {table}", gitlab_api.DATABASE)
        for table in (TOKENS, "application_settings")
    }
    database.execute(statement, gitlab_api.DATABASE)
    try:
        with pytest.raises(ProbeFailedError) as failed:
            HttpProbe().check(*restored)
    finally:
        for table, held in rows.items():
            text = json.dumps(list(held)).replace("'", "''")
            put = f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, '{text}')"
            database.execute(f"DELETE FROM {table}; {put}", gitlab_api.DATABASE)
    matrix(HEADING, name, "http", failed.value.message[:100])
    assert words in failed.value.message


def test_a_database_without_its_tokens_is_red(restored, database):
    database.execute(f"ALTER TABLE {TOKENS} RENAME TO gone", gitlab_api.DATABASE)
    try:
        with pytest.raises(ProbeFailedError, match=r"with credentials: status 503, 200 was expected"):
            HttpProbe().check(*restored)
    finally:
        database.execute(f"ALTER TABLE gone RENAME TO {TOKENS}", gitlab_api.DATABASE)
    HttpProbe().check(*restored)


def test_an_api_without_a_token_is_refused():
    with pytest.raises(ValueError, match="it needs `database`, and a `token`"):
        GitLab(Path("/etc/gitlab"), Path("/srv/git"), api=API)
