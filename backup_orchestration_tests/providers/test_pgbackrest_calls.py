"""How pgBackRest is called, what its exit codes mean, and what is made of its lies; on a fake one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import (
    CommandFailedError,
    PostgresError,
    RepositoryError,
    RepositoryLockedError,
    RepositoryMissingError,
    RepositoryUnreachableError,
    RepositoryVanishedError,
    RestoreFailedError,
    SecretError,
    SettingsError,
    SourceError,
    SpaceError,
    ToolLiedError,
    WrongPasswordError,
)
from backup_orchestration.core.places import Bucket, Directory
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.secrets import SecretRef, Secrets
from backup_orchestration.core.sources import Postgres
from backup_orchestration.providers import _cluster
from backup_orchestration.providers.base import BackupSpec, RestoreSpec, Surroundings
from backup_orchestration.providers.pgbackrest import PgBackRest

SCRIPT = """\
#!/bin/sh
if [ "$*" = version ]; then exec cat {here}/version; fi
exec {python} -IS {here}/fake_pgbackrest.py "$@"
"""
PASSWORD = "correct horse battery"
NOW = datetime.fromtimestamp(1795399200, UTC) + timedelta(minutes=1)
ADDRESS = Bucket(
    "b", "p", "https://127.0.0.1:9000", "r", None, SecretRef(name="k"), SecretRef(name="k"), "destinations.x"
)


@dataclass
class Fake:
    """`shop/db` in a repository that the fake drives."""

    root: Path
    source: dict[str, object] = field(default_factory=dict)
    place: object = None
    told: list = field(default_factory=list)

    @property
    def policy(self):
        source = Postgres(data=self.root / "data", socket=self.root, **self.source)
        return BackupPolicy(target="shop/db", provider="pgbackrest", source=source)

    @property
    def destination(self):
        place = self.place or Directory(self.root / "backups")
        return Destination("default", place, SecretRef(file=self.root / "password"))

    @property
    def repository(self):
        home = self.root / "home"
        secrets = Secrets(self.root, self.root, {}, home / "run")
        around = Surroundings(secrets, home / "staging", home / "cache", home, home / "state" / "shop-db", lambda: NOW)
        return PgBackRest().open(self.policy, self.destination, around)

    def answer(self, **table):
        table = {verb.replace("_", "-"): answers for verb, answers in table.items()}
        (self.root / "bin" / "answers.json").write_text(json.dumps(table))
        (self.root / "bin" / "calls.jsonl").unlink(missing_ok=True)

    def calls(self):
        path = self.root / "bin" / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def verbs(self):
        return [call["verb"] for call in self.calls()]

    def backup(self, run_id="run", **spec):
        spec = {"create": True, "facts": lambda: {"sql": 1}, **spec}
        return self.repository.backup(BackupSpec(run_id, **spec), self.told.append)

    def restore(self, **spec):
        into = self.root / "lab"
        into.mkdir()
        return self.repository.restore(self.repository.latest(), RestoreSpec(into, **spec), self.told.append)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The only pgBackRest that is found; the cluster is played by what it would answer."""
    here = tmp_path / "bin"
    here.mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "k").write_text("key\n")
    (here / "fake_pgbackrest.py").write_bytes(Path(__file__).with_name("fake_pgbackrest.py").read_bytes())
    (here / "version").write_text("pgBackRest 2.45\n")
    (here / "pgbackrest").write_text(SCRIPT.format(here=here, python=sys.executable))
    (here / "pgbackrest").chmod(0o755)
    monkeypatch.setenv("HOMELAB_TOOLS", str(here))
    monkeypatch.setattr(_cluster, "reach", lambda source: None)
    monkeypatch.setattr(_cluster, "examine", lambda server, source, archive: _cluster.Cluster("7", 1000))
    found = Fake(tmp_path)
    monkeypatch.setattr(
        _cluster,
        "write_canary",
        lambda server, database, run_id, facts: found.told.append((database, run_id, facts)) or 1,
    )
    return found


def test_a_backup_is_checked_before_and_read_back_after(fake):
    snapshot = fake.backup()
    assert fake.verbs() == ["info", "stanza-create", "info", "repo-get", "check", "info", "backup", "info"]
    assert ("postgres", "run", {"sql": 1}) in fake.told
    assert [item.fraction for item in fake.told if not isinstance(item, tuple)] == [0.4, 1.0]
    assert snapshot.key == "20261123T020000Z-020000F"
    assert (snapshot.size_bytes, snapshot.run_id) == (1000, "run")
    assert snapshot.finished_at - snapshot.taken_at == timedelta(seconds=5)
    assert fake.repository.snapshots() == [snapshot]
    fake.backup("again")
    assert fake.verbs().count("stanza-create") == 1


def test_secrets_are_in_the_configuration_and_nowhere_else(fake):
    fake.backup()
    for call in fake.calls():
        assert PASSWORD not in " ".join(call["argv"])
        assert PASSWORD not in json.dumps(call["env"])
        assert f"repo1-cipher-pass={PASSWORD}\n" in call["config"]["text"]
        assert call["config"]["mode"] == 0o600
        # 2.53 and newer print errors elsewhere unless told.
        assert "log-level-stderr=error\n" in call["config"]["text"]
    (fake.root / "password").write_text("two\nlines\n")
    with pytest.raises(SecretError, match="one line only"):
        fake.repository.snapshots()


@pytest.mark.parametrize(
    ("source", "spec", "kind"),
    [
        ({}, {}, "full"),
        ({"backup": "diff"}, {}, "diff"),
        ({"backup": "incr"}, {}, "incr"),
        ({"backup": "incr"}, {"reread": True}, "full"),
        ({"backup": "incr", "full_every": timedelta(minutes=1)}, {}, "full"),
        ({"backup": "incr", "full_every": timedelta(minutes=2)}, {}, "incr"),
    ],
)
def test_the_policy_and_a_wish_decide_what_is_taken(fake, source, spec, kind):
    fake.source = source
    fake.backup()
    fake.backup("second", **spec)
    assert f"--type={kind}" in fake.calls()[-2]["argv"]


def test_nothing_builds_on_damaged_pages(fake):
    fake.source = {"backup": "incr"}
    fake.answer(backup=[None, {"change": {"error": True}}])
    first = fake.backup()
    with pytest.raises(SourceError, match="wrong checksums"):
        fake.backup("second")
    assert fake.repository.snapshots() == [first]
    fake.backup("third")
    assert "--type=full" in fake.calls()[-2]["argv"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (28, CommandFailedError),
        (31, CommandFailedError),
        (40, CommandFailedError),
        (50, RepositoryLockedError),
        (56, PostgresError),
        (58, SourceError),
        (62, RepositoryLockedError),
        (82, SourceError),
        (95, RepositoryError),
        (101, RepositoryUnreachableError),
        (104, CommandFailedError),
    ],
)
@pytest.mark.parametrize("verb", ["check", "backup"])
def test_an_exit_code_is_an_error_with_its_own_words(fake, verb, code, error):
    said = f"ERROR: [{code:03}]: what is wrong\n       that is the cause\n       HINT: try again\n"
    fake.answer(**{verb: [{"skip": True, "code": code, "stderr": said}]})
    with pytest.raises(error, match=rf"\[{code:03}\]: what is wrong; that is the cause") as refused:
        fake.backup()
    assert type(refused.value) is error
    assert "HINT" not in refused.value.message
    assert fake.repository.snapshots() == []


def test_a_full_disk_is_no_other_failure(fake):
    said = "ERROR: [064]: unable to write '/r/bundle/1': [28] No space left on device\n"
    fake.answer(backup=[{"skip": True, "code": 64, "stderr": said}])
    with pytest.raises(SpaceError):
        fake.backup()


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"backup": [{"skip": True}]}, "lists 0 backups of run run"),
        ({"backup": [{"change": {"annotation": {}}}]}, "lists 0 backups of run run"),
        ({"backup": [{"change": {"type": "incr"}}]}, "is incr instead of full"),
        ({"backup": [{"change": {"info": {"size": 0, "repository": {"delta": 0}}}}]}, "holds nothing"),
        ({"backup": [{"change": {"lsn": {"start": "0/0", "stop": "0/1"}}}]}, "starts before the row"),
        ({"backup": [{"change": {"archive": {"start": "0" * 24, "stop": "Z"}}}]}, "the archive ends before it"),
        ({"backup": [{"change": {"timestamp": {}}}]}, "cannot be read"),
        ({"info": [{"stdout": "all is well"}]}, "gave no JSON"),
        ({"info": [{"stdout": "[]"}]}, "says nothing of shop-db"),
        ({"info": [{"stdout": '[{"name": "shop-db", "repo": []}]'}]}, "says nothing of the repository"),
        ({"repo_get": [{"stdout": "[cipher]\n"}]}, "no key in archive.info"),
        ({"stanza_create": [{"skip": True}]}, None),
    ],
)
def test_exit_code_0_proves_nothing(fake, answers, told):
    fake.answer(**answers)
    with pytest.raises(ToolLiedError if told else RepositoryMissingError, match=told):
        fake.backup()


def test_only_what_is_not_there_is_made(fake):
    junk = {"code": 99, "message": "[FormatError] unable to load info file\nFormatError: key/value \x01\x02"}
    status = {"code": 99, "message": "other"}
    answer = [{"name": "shop-db", "repo": [{"status": junk}], "status": status, "backup": []}]
    fake.answer(info=[{"stdout": json.dumps(answer).replace("\\u0001", "\x01")}])
    with pytest.raises(WrongPasswordError):
        fake.backup()
    fake.answer()
    with pytest.raises(RepositoryVanishedError, match="--new-repository"):
        fake.backup(create=False)
    assert "stanza-create" not in fake.verbs()
    assert not (fake.root / "backups").exists()


@pytest.mark.parametrize("code", [26, 29, 55, 75, 95])
def test_a_damaged_set_is_the_datas_fault(fake, code):
    fake.backup()
    fake.answer(restore=[{"code": code, "stderr": f"ERROR: [{code:03}]: no\n"}])
    with pytest.raises(RestoreFailedError):
        fake.restore()
    assert not (fake.root / "lab" / "pgbackrest").exists()


@pytest.mark.parametrize(("code", "error"), [(31, CommandFailedError), (49, RepositoryUnreachableError)])
def test_anything_else_is_not(fake, code, error):
    fake.backup()
    fake.answer(restore=[{"code": code, "stderr": f"ERROR: [{code:03}]: no\n"}])
    with pytest.raises(error) as refused:
        fake.restore()
    assert not isinstance(refused.value, RestoreFailedError)


def test_a_restore_that_restores_nothing_has_failed(fake):
    fake.backup()
    with pytest.raises(RestoreFailedError, match="exit code 0 without PG_VERSION"):
        fake.restore()


@pytest.mark.parametrize(
    ("at", "wanted"),
    [
        (None, ["--type=immediate"]),
        (datetime(2026, 11, 23, 3, 0, 0, 5, tzinfo=UTC), ["--type=time", "--target=2026-11-23 03:00:00.000005+00"]),
    ],
)
def test_a_restore_can_reach_nothing_of_production(fake, at, wanted):
    fake.backup()
    with pytest.raises(RestoreFailedError):
        fake.restore(at=at)
    call = fake.calls()[-1]
    lab = fake.root / "lab"
    assert {
        *wanted,
        "--archive-mode=off",
        "--target-action=promote",
        f"--tablespace-map-all={lab / 'tablespaces'}",
    } <= set(call["argv"])
    assert not {"--delta", "--link-all"} & set(call["argv"])
    assert f"pg1-path={lab / 'pgdata'}\n" in call["config"]["text"]
    assert str(fake.root / "data") not in call["config"]["text"]
    assert f"lock-path={lab / 'pgbackrest' / 'lock'}\n" in call["config"]["text"]


def test_an_address_is_refused_where_it_cannot_be_checked(fake):
    fake.place = ADDRESS
    with pytest.raises(SettingsError, match=r"destinations.x.endpoint: pgbackrest 2.45 cannot check"):
        fake.repository.snapshots()
    (fake.root / "bin" / "version").write_text("pgBackRest 2.55.1\n")
    (fake.root / "bin" / "pgbackrest").touch()  # a file that has changed is asked again
    with pytest.raises(Exception, match=r"127\.0\.0\.1") as refused:
        fake.repository.snapshots()
    assert not isinstance(refused.value, SettingsError)


def test_a_bucket_without_tls_is_refused_when_settings_are_loaded(fake):
    fake.place = replace(ADDRESS, endpoint="http://store")
    with pytest.raises(SettingsError, match=r"destinations.x.endpoint: pgbackrest.* over TLS only"):
        PgBackRest().location(fake.policy, fake.destination)
