"""What goes wrong fails the run, is heard once, and leaves no secret behind."""

import contextlib
import importlib
import os
import shutil
import signal
import sqlite3
import threading
import traceback
import zlib

import dagster as dg
import pytest
from fakes import behave, damage, make_fake, policy

from backup_orchestration.core.errors import HomelabError, SettingsError
from backup_orchestration.orchestration import execute, names
from backup_orchestration.orchestration.listener import Listener
from backup_orchestration.orchestration.sensors import sensors_of

# The secrets of the site, and what an exception of somebody else's library might hold besides.
PASSWORD, EVIDENCE_KEY = "correct horse battery", "staple of evidence"
URL = "https://user:hunter2-canary@host.invalid/path"
CANARIES = (PASSWORD, EVIDENCE_KEY, "hunter2-canary")
RAW = f"cannot open {URL} with {PASSWORD} nor {EVIDENCE_KEY}"

PROBE = """
from backup_orchestration.probes.base import ProbeKind

class Bad(ProbeKind):
    name = "bad"
    sources = ("files",)
    def check(self, restored, options):
        raise ValueError({text!r})
"""


def findings(root):
    """Where below a directory a canary stands: in bytes of files, in rows of SQLite, in compressed blobs."""
    found = []
    for path in root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            texts = [content]
            if content.startswith(b"SQLite format 3"):
                texts += rows(path)
            for text in texts:
                found += [(path.name, canary) for canary in CANARIES if canary.encode() in text]
    return found


def rows(path):
    with sqlite3.connect(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        yield value
                        with contextlib.suppress(zlib.error):
                            yield zlib.decompress(value)
                    elif isinstance(value, str):
                        yield value.encode()
    database.close()


def test_the_search_finds_what_is_there(graph):
    """The one below would pass for a search that finds nothing."""
    home = graph.site.root / ".homelab" / "dagster"
    graph.instance.report_runless_asset_event(dg.AssetMaterialization("k", description=f"said {PASSWORD}"))
    assert {canary for _, canary in findings(home)} == {PASSWORD}
    (home / "blob.db").unlink(missing_ok=True)
    with sqlite3.connect(home / "blob.db") as database:
        database.execute("CREATE TABLE snapshots (body BLOB)")
        database.execute("INSERT INTO snapshots VALUES (?)", (zlib.compress(EVIDENCE_KEY.encode()),))
    database.close()
    assert ("blob.db", EVIDENCE_KEY) in findings(home)


def assert_failed(graph, words):
    run = graph.last_run
    assert run.status is dg.DagsterRunStatus.FAILURE
    logs = graph.instance.all_logs(run.run_id)
    said = [entry.dagster_event.step_failure_data.error.to_string() for entry in logs
            if entry.is_dagster_event and entry.dagster_event.is_step_failure]  # fmt: skip
    assert len(said) == 1 and words in said[0]


def test_a_provider_that_refuses(graph):
    behave(graph.site, app_files={"refuse": "the source is not mounted"})
    assert not graph.backup()
    assert [str(error) for error in graph.heard.errors] == ["the source is not mounted (mount it)"]
    assert_failed(graph, "the source is not mounted (mount it)")
    assert graph.materialization(names.target_key("app/files")) is None
    assert not graph.instance.get_dynamic_partitions("app/files")


def test_a_foreign_exception_leaves_no_secret(graph, capfd):
    behave(graph.site, app_files={"error": RAW})
    assert not graph.backup()
    (error,) = graph.heard.errors
    assert "RuntimeError: cannot open https://***@host.invalid/path with *** nor ***" in error.message
    assert_failed(graph, "RuntimeError: cannot open https://***@host.invalid/path")
    assert not findings(graph.site.root / ".homelab")
    shown = "".join(capfd.readouterr())
    assert not [canary for canary in CANARIES if canary in shown]


def test_a_restore_that_raises_is_an_error_and_no_evidence(graph, capfd):
    assert graph.backup()
    behave(graph.site, app_files={"restore_error": RAW})
    assert not graph.restore_test()
    (error,) = graph.heard.errors
    assert "RuntimeError" in error.message and not graph.heard.evidence
    assert_failed(graph, "RuntimeError: cannot open https://***@")
    assert not graph.site.homelab.evidence().ledger("app/files", "default").records
    assert not findings(graph.site.root / ".homelab")
    assert not list((graph.site.root / ".homelab" / "labs").iterdir())
    shown = "".join(capfd.readouterr())
    assert not [canary for canary in CANARIES if canary in shown]


def test_a_probe_that_raises_fails_the_test_and_leaves_no_secret(site, dagster_home, open_graph, capfd):
    make_fake(site, policy(restore_test={"probes": ["bad"]}), home=dagster_home)
    settings = site.root / "homelab.toml"
    settings.write_text('probes = ["./bad_probe.py:Bad"]\n' + settings.read_text())
    (site.root / "bad_probe.py").write_text(PROBE.format(text=RAW))
    with open_graph(site) as graph:
        assert graph.backup() and not graph.restore_test()
        (evidence,) = graph.heard.evidence
        assert not graph.heard.errors and not evidence.passed
        assert evidence.reason.startswith("bad: ValueError: cannot open https://***@host.invalid/path with ***")
        assert [item.name for item in evidence.probes if item.passed] == ["restore", "files"]
        assert_failed(graph, "restore test failed: bad: ValueError")
        assert not findings(site.root / ".homelab")
        assert not findings(site.root / "backups") and not findings(site.root / "evidence")
        assert site.judge().protection == "suspect"
    shown = "".join(capfd.readouterr())
    assert not [canary for canary in CANARIES if canary in shown]


def test_a_snapshot_of_another_run_does_not_count(graph):
    assert graph.backup()
    behave(graph.site, app_files={"lie": True})
    assert not graph.backup()
    (error,) = graph.heard.errors
    assert type(error).__name__ == "ToolLiedError" and not graph.heard.snapshots


def test_evidence_that_cannot_be_written_fails_the_run(graph):
    """A pass that nobody will be able to see is none."""
    assert graph.backup()
    place = graph.site.root / "evidence"
    if place.exists():
        shutil.rmtree(place)
    place.write_text("a file where the directory should be")
    assert not graph.restore_test()
    assert graph.heard.errors and not graph.heard.evidence
    assert graph.materialization(names.verified_key("app/files")) is None


def test_a_secret_in_what_was_captured_is_not_shown(graph):
    """File names come from outside: one with a secret in its name is damaged and named in the reason."""
    (graph.site.root / "data" / f"{PASSWORD} two.bin").write_bytes(b"x" * 10)
    (graph.site.root / "data" / "sub" / "two.bin").unlink()
    assert graph.backup()
    damage(graph.site, graph.heard.snapshots[0])
    assert not graph.restore_test()
    assert "***" in graph.heard.evidence[0].reason
    assert PASSWORD not in [canary for _, canary in findings(graph.site.root / ".homelab")]


def test_a_sensor_that_meets_a_foreign_exception_leaves_no_secret(graph):
    """Dagster keeps what a tick raises, with its causes."""
    assert graph.backup()
    damage(graph.site, graph.heard.snapshots[0])
    assert not graph.restore_test()
    behave(graph.site, app_files={"list_error": RAW})
    again, *_others = sensors_of(graph.site.homelab, ["app/files"])
    with pytest.raises(HomelabError) as raised:
        again.evaluate_tick(dg.build_sensor_context(instance=graph.instance))
    text = "".join(traceback.format_exception(raised.value))
    assert "RuntimeError: cannot open https://***@host.invalid/path with *** nor ***" in text
    assert not [canary for canary in CANARIES if canary in text]


def test_definitions_that_cannot_be_built_leave_no_secret(graph, monkeypatch):
    (graph.site.root / "services.py").write_text(f"raise ValueError({RAW!r})")
    monkeypatch.setenv("HOMELAB_SETTINGS", str(graph.site.root / "homelab.toml"))
    with pytest.raises(SettingsError) as raised:
        importlib.import_module("backup_orchestration.definitions").definitions()
    text = "".join(traceback.format_exception(raised.value))
    assert "ValueError: cannot open https://***@host.invalid/path with *** nor ***" in text
    assert not [canary for canary in CANARIES if canary in text]


def test_a_run_that_is_stopped_is_not_tried_again(graph, tmp_path, until):
    """Terminate in the page ends in SIGTERM to the run; Dagster would respect the retry policy of the asset."""
    mark = tmp_path / "begun"
    behave(graph.site, app_files={"child": ["/bin/sh", "-c", f"touch {mark}; exec sleep 300"]})

    def stop():
        until(mark.exists)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    stopper.start()
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert not execute.run_backup(graph.site.homelab, graph.instance, "app/files", Listener())
    finally:
        signal.signal(signal.SIGTERM, before)
        stopper.join()
    kinds = {
        entry.dagster_event_type.value
        for entry in graph.instance.all_logs(graph.last_run.run_id)
        if entry.is_dagster_event
    }
    assert "STEP_UP_FOR_RETRY" not in kinds and "STEP_FAILURE" in kinds
    assert graph.last_run.status.value == "FAILURE"
