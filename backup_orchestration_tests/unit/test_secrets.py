"""Secrets: from each place, and how they are handed to children."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from backup_orchestration.core.errors import SecretError
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.secrets import SecretRef, Secrets, describe, hide
from backup_orchestration.homelab.load import load

ENV = SecretRef(env="STORE_PASSWORD")


@pytest.fixture
def at(tmp_path):
    """Secrets of an installation in `tmp_path`, with this environment."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/stored").write_text("from the directory\n")
    (tmp_path / "file").write_text("from the file\n")

    def make(**environment: str) -> Secrets:
        everything = {"PATH": os.environ["PATH"], **environment}
        return Secrets(tmp_path, tmp_path / "secrets", everything, tmp_path / "run")

    return make


@pytest.mark.parametrize(
    ("ref", "environment", "secret"),
    [
        (SecretRef(file=Path("file")), {}, "from the file"),
        (SecretRef(name="stored"), {}, "from the directory"),
        (SecretRef(command=["/bin/echo", "from a command"]), {}, "from a command"),
        (ENV, {"STORE_PASSWORD": " from the variable\n"}, "from the variable"),
        (ENV, {"STORE_PASSWORD_COMMAND": "echo from $WHERE", "WHERE": "a shell"}, "from a shell"),
        (ENV, {"STORE_PASSWORD": "a", "STORE_PASSWORD_COMMAND": "echo from a command"}, "from a command"),
        (ENV, {"STORE_PASSWORD": "a", "STORE_PASSWORD_FILE": "", "STORE_PASSWORD_COMMAND": ""}, "a"),
    ],
)
def test_a_secret_is_found_where_it_was_said_to_be(at, ref, environment, secret):
    assert at(**environment).value(ref, "password") == secret


def test_a_file_named_by_the_environment_comes_first(at, tmp_path):
    secrets = at(STORE_PASSWORD="a", STORE_PASSWORD_COMMAND="echo b", STORE_PASSWORD_FILE=str(tmp_path / "file"))
    assert secrets.value(ENV, "password") == "from the file"
    assert secrets.path(ENV) == tmp_path / "file"


@pytest.mark.parametrize(
    ("ref", "environment", "says"),
    [
        (SecretRef(file=Path("nowhere")), {}, "nowhere does not exist"),
        (SecretRef(name="nowhere"), {}, "nowhere does not exist"),
        (SecretRef(file=Path("secrets")), {}, "cannot be read: Is a directory"),
        (SecretRef(file=Path("binary")), {}, "it is not UTF-8 text"),
        (SecretRef(file=Path("blank")), {}, "the secret is empty"),
        (ENV, {}, "STORE_PASSWORD is not set"),
        (ENV, {"STORE_PASSWORD": "\n"}, "the secret is empty"),
        (ENV, {"STORE_PASSWORD_FILE": "/nowhere"}, "/nowhere does not exist"),
        (ENV, {"STORE_PASSWORD_COMMAND": "exit 3"}, "exit code 3"),
        (SecretRef(command=["/bin/true"]), {}, "the secret is empty"),
        (SecretRef(command=["no-such-manager"]), {}, "no-such-manager cannot be started"),
    ],
)
def test_what_is_missing_is_said_with_its_field_and_a_remedy(at, tmp_path, ref, environment, says):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "blank").write_text(" \n")
    with pytest.raises(SecretError, match=says) as refused:
        at(**environment).value(ref, "destinations.default.password")
    assert refused.value.message.startswith("destinations.default.password: ")
    assert refused.value.remedy


def test_a_command_that_waits_for_somebody_is_stopped(at, monkeypatch):
    monkeypatch.setattr("backup_orchestration.core.secrets._COMMAND_SECONDS", 0.3)
    with pytest.raises(SecretError, match=r"evidence\.key: sleep did not end"):
        at().value(SecretRef(command=["sleep", "60"]), "evidence.key")


def test_what_a_failing_command_printed_is_not_repeated(at):
    ref = SecretRef(command=["/bin/sh", "-c", "echo half-a-secret; echo half-a-secret >&2; exit 1"])
    with pytest.raises(SecretError) as refused:
        at().value(ref, "evidence.key")
    assert "half-a-secret" not in str(refused.value)


def test_a_secret_that_was_read_is_masked_from_then_on(at):
    assert REDACTOR.mask("read-just-now") == "read-just-now"
    at(STORE_PASSWORD="read-just-now").value(ENV, "password")
    assert REDACTOR.mask("read-just-now") == "***"


@pytest.mark.parametrize(
    ("environment", "runs"),
    [
        ({"STORE_PASSWORD": "a"}, False),
        ({"STORE_PASSWORD_COMMAND": "echo a"}, True),
        ({"STORE_PASSWORD_COMMAND": ""}, False),
        ({"STORE_PASSWORD_COMMAND": "echo a", "STORE_PASSWORD_FILE": "/nowhere"}, False),
        ({"STORE_PASSWORD_COMMAND": "echo a", "STORE_PASSWORD_FILE": ""}, True),
    ],
)
def test_is_command_says_whether_value_would_run_one(at, monkeypatch, environment, runs):
    secrets = at(**environment)
    ran = []
    monkeypatch.setattr("backup_orchestration.core.secrets._run", lambda *_: ran.append(1) or "a secret")
    try:
        secrets.value(ENV, "password")
    except SecretError:
        assert not ran
    assert secrets.is_command(ENV) is runs
    assert bool(ran) is runs


def test_a_command_in_the_settings_is_always_one(at):
    assert at().is_command(SecretRef(command=["echo"]))
    assert not at().is_command(SecretRef(name="stored"))


@pytest.mark.parametrize("ref", [SecretRef(file=Path("file")), SecretRef(name="stored")], ids=["file", "name"])
def test_a_secret_in_a_file_is_handed_on_as_that_file(at, tmp_path, ref):
    secrets = at()
    with secrets.file(ref, "password") as path:
        assert path == secrets.path(ref)
    assert path.exists()
    assert not (tmp_path / "run").exists()


def test_another_secret_is_handed_on_as_a_private_copy_that_goes_again(at, tmp_path):
    secrets = at(STORE_PASSWORD="from the variable")
    with secrets.file(ENV, "password") as path:
        assert path.read_text() == "from the variable"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list((tmp_path / "run").iterdir()) == []


def test_the_private_copy_goes_after_an_exception_too(at, tmp_path):
    with pytest.raises(RuntimeError):
        with at(STORE_PASSWORD="from the variable").file(ENV, "password"):
            raise RuntimeError
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"env": "A", "name": "b"},
        {"env": "1A"},
        {"env": "A B"},
        {"name": "../b"},
        {"name": ""},
        {"command": []},
        {"value": "hunter2"},
    ],
    ids=str,
)
def test_a_reference_names_exactly_one_place(fields):
    with pytest.raises(ValidationError):
        SecretRef(**fields)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        (SecretRef(file=Path("a/b")), "file a/b"),
        (SecretRef(name="b"), "b in the secrets directory"),
        (SecretRef(command=["/usr/bin/pass", "show", "private/path"]), "command pass"),
        (ENV, "environment variable STORE_PASSWORD"),
    ],
)
def test_a_place_is_described_and_nothing_given_away(ref, words):
    assert describe(ref) == words


def test_the_command_of_one_secret_does_not_inherit_another(tmp_path):
    environment = {"PATH": os.environ["PATH"], "STORE_PASSWORD": "theirs", "VAULT_SESSION": "agent"}
    secrets = Secrets(tmp_path, tmp_path, environment, tmp_path / "run", {"STORE_PASSWORD"})
    ref = SecretRef(command=["/bin/sh", "-c", 'echo "$VAULT_SESSION ${STORE_PASSWORD-none}"'])
    assert secrets.value(ref, "password") == "agent none"
    assert secrets.value(ENV, "password") == "theirs"


def test_a_hidden_variable_is_inherited_by_nobody_and_found_by_us(tmp_path, monkeypatch):
    monkeypatch.setenv("STORE_PASSWORD", "from the variable, hidden")
    hide(["STORE_PASSWORD", "NOT_THERE"])
    hide(["STORE_PASSWORD"])
    shown = os.environ["STORE_PASSWORD"]
    assert shown.startswith(f"homelab-hidden:/proc/{os.getpid()}/fd/")
    child = subprocess.run(["/bin/cat", "/proc/self/environ"], capture_output=True, check=True)
    assert b"hidden:/proc" in child.stdout and b"from the variable" not in child.stdout
    secrets = Secrets(tmp_path, tmp_path, os.environ, tmp_path / "run", {"STORE_PASSWORD"})
    assert secrets.value(ENV, "password") == secrets.value(ENV, "password") == "from the variable, hidden"
    assert secrets.path(ENV) is None
    os.close(int(shown.rpartition("/")[2]))
    with pytest.raises(SecretError, match="password"):
        secrets.value(ENV, "password")


def test_loading_hides_what_the_settings_name(site, monkeypatch):
    settings = site.root / "homelab.toml"
    settings.write_text(settings.read_text().replace('{ file = "secrets/password" }', '{ env = "STORE_PASSWORD" }'))
    monkeypatch.setenv("STORE_PASSWORD", "from the variable, loaded")
    homelab = load(settings)
    assert "from the variable" not in os.environ["STORE_PASSWORD"]
    ref = homelab.destinations["default"].password
    assert homelab.secrets.value(ref, "password") == load(settings).secrets.value(ref, "password")
    assert homelab.secrets.value(ref, "password") == "from the variable, loaded"
    os.close(int(os.environ["STORE_PASSWORD"].rpartition("/")[2]))
