"""Dumps: what a command prints is stored by restic itself; a command that fails is a failure, never a snapshot."""

import sys

import pytest

from backup_orchestration.core.errors import HomelabError
from backup_orchestration.providers.base import RestoreSpec

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

HIDDEN = ("RESTIC_", "AWS_", "BORG_")


@pytest.fixture
def declared(site, start_repository):
    """The site with a dump of this command's output as its only target."""

    def declare(*command):
        source = f'Dump(command={tuple(map(str, command))!r}, filename="app.sql")'
        return start_repository(site.declare(f'BackupPolicy(target="app/dump", source={source})'), "app/dump")

    return declare


def python(code):
    return (sys.executable, "-I", "-c", code)


def restored(site, tmp_path):
    repository = site.homelab.repository("app/dump")
    (tmp_path / "restored").mkdir()
    report = repository.restore(repository.latest(), RestoreSpec(tmp_path / "restored"), lambda update: None)
    return (report.root / "app.sql").read_bytes()


def test_a_dump_is_stored_byte_for_byte_and_passes_its_restore_test(declared, tmp_path):
    site = declared(*python("import sys; sys.stdout.buffer.write(bytes(range(256)) * 20000)"))
    snapshot = site.backup("app/dump")
    assert (snapshot.size_bytes, snapshot.counts["files"]) == (256 * 20000, 1)
    evidence = site.restore_test("app/dump")
    assert evidence.passed, evidence.reason
    assert evidence.counts["bytes"] == 256 * 20000
    assert restored(site, tmp_path) == bytes(range(256)) * 20000


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            python("import sys; print('x' * 100000); sys.stderr.write('connection lost'); sys.exit(3)"),
            "connection lost",
        ),
        (python("import os; print('x' * 100000, flush=True); os.kill(os.getpid(), 9)"), "137"),
        (python("import sys; sys.exit('no such database')"), "no such database"),
        (("true",), "printed nothing"),
        (("no-such-dump-program",), "no-such-dump-program cannot be started"),
        (("/etc/hostname",), "/etc/hostname cannot be started"),
    ],
    ids=["fails after output", "killed after output", "fails", "0 bytes", "not found", "not executable"],
)
def test_a_dump_that_failed_is_no_snapshot(declared, command, words, matrix, request):
    site = declared(*command)
    with pytest.raises(HomelabError, match=words) as caught:
        site.backup("app/dump")
    assert caught.value.exit_code == 1
    row = f"dump: {request.node.callspec.id}", "backup", str(caught.value).replace(str(site.root), "…")[:200]
    matrix("False success", *row)
    assert site.homelab.repository("app/dump").snapshots() == []
    assert not (site.root / "evidence").exists()


def test_the_command_sees_no_variable_of_the_tool_or_the_store(declared, tmp_path, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "RESTIC_PASSWORD", "BORG_PASSPHRASE"):
        monkeypatch.setenv(name, "canary")
    site = declared(*python("import json, os; print(json.dumps(dict(os.environ)))"))
    site.backup("app/dump")
    seen = restored(site, tmp_path).decode()
    assert '"PATH"' in seen
    assert not [name for name in HIDDEN if name in seen]
    assert "canary" not in seen
    assert "correct horse battery" not in seen


def test_arguments_reach_the_command_as_they_are(declared, tmp_path):
    words = ["--quiet", "--", "$(id)", "a b", "", "*", "-"]
    site = declared(*python("import json, sys; print(json.dumps(sys.argv[1:]))"), *words)
    site.backup("app/dump")
    assert restored(site, tmp_path).decode().strip() == '["--quiet", "--", "$(id)", "a b", "", "*", "-"]'
