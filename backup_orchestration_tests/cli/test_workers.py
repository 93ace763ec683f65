"""Runs side by side, runs in one another's way, and runs that are killed."""

import os
import signal

import pytest
from fakes import alive, behave, make_fake, policy, records

from backup_orchestration.operations.status import judge


def overlap(one, other):
    return one["start"] < other["end"] and other["start"] < one["end"]


def labs(site):
    place = site.root / ".homelab" / "labs"
    return list(place.iterdir()) if place.is_dir() else []


def test_independent_targets_run_at_the_same_time(make):
    site = make("app/files", "app/other")
    behave(site, app_files={"meet": 2}, app_other={"meet": 2})
    assert site.cli("backup", "run", "--all").returncode == 0
    one, other = records(site, "spans.jsonl")
    assert {one["target"], other["target"]} == {"app/files", "app/other"}
    assert one["pid"] != other["pid"]
    assert overlap(one, other)


def test_two_commands_on_one_target_take_turns(fake, start, until):
    leave = fake.root / "leave"
    behave(fake, app_files={"until": str(leave)})
    first = start("backup", "run", "--all")
    until(lambda: records(fake, "started.jsonl"))
    second = start("backup", "run", "--target", "files")
    until(lambda: f"{fake.root / 'backups' / 'fake-app-files'} is in use; waiting for it" in second.said())
    leave.touch()
    assert first.end() == 0 and second.end() == 0
    one, other = records(fake, "spans.jsonl")
    assert not overlap(one, other)
    assert "waiting" not in first.said()
    assert len(fake.homelab.repository("app/files").snapshots()) == 2


def test_a_provider_that_cannot_list_fails_its_target_and_shows_no_secret(fake):
    """What a worker does not catch itself, Python would print with everything that is in it."""
    behave(fake, app_files={"list_error": "cannot use correct horse battery"})
    done = fake.cli("backup", "restore-test", "--all")
    assert done.returncode == 1
    assert "app/files: failed: RuntimeError: cannot use *** (this is a defect; report it)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "correct horse" not in done.stdout + done.stderr


def test_a_first_command_beside_another_first_command(site, start):
    """Both find no Dagster home; making its storage twice at once would break one of them."""
    make_fake(site, policy("app/files"), policy("app/other"))
    begun = [start("backup", "run", "--target", name) for name in ("files", "other")]
    assert [item.end() for item in begun] == [0, 0], [item.said() for item in begun]
    assert len(records(site, "spans.jsonl")) == 2


def test_a_killed_worker_is_named_and_its_run_ends(make, start, until, say):
    """The others are not touched; the next command reports the run that nobody could end."""
    site = make("app/files", "app/other")
    behave(site, app_files={"seconds": 60}, app_other={"seconds": 2})
    command = start("backup", "run", "--all")
    begun = until(lambda: len(found := records(site, "started.jsonl")) == 2 and found)
    (pid,) = [item["pid"] for item in begun if item["target"] == "app/files"]
    os.kill(pid, signal.SIGKILL)
    assert command.end() == 1
    assert "app/files: failed: its worker process ended with exit code -9 (run it again)" in command.said()
    assert "app/other: snapshot " in command.said()
    (row,) = say("backup", "status", "--json", "--target", "files").json
    assert row["last_backup"]["outcome"] == "failed"
    assert states(site) == {"app/files": ["STARTED"], "app/other": ["SUCCESS"]}
    behave(site)
    assert site.cli("backup", "run", "--target", "files").returncode == 0
    assert states(site) == {"app/files": ["SUCCESS", "FAILURE"], "app/other": ["SUCCESS"]}


def states(site):
    """Of the runs of each target in Dagster, newest first."""
    from backup_orchestration.orchestration.instance import open_instance

    with open_instance(site.homelab) as instance:
        found = {}
        for run in instance.get_runs():
            found.setdefault(run.tags["homelab/target"], []).append(run.status.value)
    return found


def test_targets_that_no_worker_is_left_for_are_named(make, start, until):
    """Out of memory takes every worker; what was never begun is no success either."""
    names = [f"app/t{number}" for number in range(6)]
    site = make(*names)
    behave(site, **{name.replace("/", "_"): {"seconds": 60} for name in names})
    command = start("backup", "run", "--all")
    workers = max(2, min(8, os.cpu_count() or 2))
    count = min(workers, len(names))
    for item in until(lambda: len(found := records(site, "started.jsonl")) == count and found):
        os.kill(item["pid"], signal.SIGKILL)
    assert command.end() == 1
    said = command.said()
    assert said.count("its worker process ended with exit code -9") == count
    assert said.count("it was not run: every worker process died") == len(names) - count
    assert all(f"{name}: failed: " in said for name in names)


def test_sigterm_stops_a_backup_and_its_tool(fake, start, until):
    mark = fake.root / "tool-pid"
    behave(fake, app_files={"child": ["/bin/sh", "-c", f"echo $$ > {mark}; exec sleep 300"]})
    command = start("backup", "run", "--all")
    tool = int(until(lambda: mark.exists() and mark.read_text()))
    (worker,) = records(fake, "started.jsonl")
    assert alive(tool) and alive(worker["pid"])
    os.kill(command.process.pid, signal.SIGTERM)
    assert command.end() == 1
    assert not alive(tool) and not alive(worker["pid"])
    assert "interrupted: what was running was stopped and does not count" in command.said()
    assert "Traceback" not in command.said()
    assert not list((fake.root / ".homelab" / "staging").rglob("*.jsonl"))
    assert states(fake)["app/files"][0] in ("CANCELED", "FAILURE")


def test_sigterm_during_a_restore_test_leaves_no_lab(fake, start, until):
    fake.backup()
    mark = fake.root / "tool-pid"
    behave(fake, app_files={"restore_child": ["/bin/sh", "-c", f"echo $$ > {mark}; exec sleep 300"]})
    command = start("backup", "restore-test", "--all")
    tool = int(until(lambda: mark.exists() and mark.read_text()))
    assert len(labs(fake)) == 1
    os.kill(command.process.pid, signal.SIGTERM)
    assert command.end() == 1
    assert not alive(tool) and not labs(fake)
    assert "Traceback" not in command.said()
    assert not fake.homelab.evidence().ledger("app/files", "default").records
    assert judge(fake.homelab, "app/files").protection == "never"


@pytest.mark.parametrize("victim", ["command", "worker"])
def test_a_kill_takes_the_tool_along_and_the_next_test_clears_the_lab(fake, start, until, victim):
    """SIGKILL lets its victim put nothing away: the kernel stops what it had started, the next test clears up."""
    fake.backup()
    mark = fake.root / "tool-pid"
    behave(fake, app_files={"restore_child": ["/bin/sh", "-c", f"echo $$ > {mark}; exec sleep 300"]})
    command = start("backup", "restore-test", "--all")
    tool = int(until(lambda: mark.exists() and mark.read_text()))
    (worker,) = {item["pid"] for item in records(fake, "restored.jsonl")}
    os.kill(command.process.pid if victim == "command" else worker, signal.SIGKILL)
    assert command.end() == (-9 if victim == "command" else 1)
    until(lambda: not alive(tool) and not alive(worker))
    assert victim == "command" or len(labs(fake)) == 1
    behave(fake)
    assert fake.cli("backup", "restore-test", "--all").returncode == 0
    assert not labs(fake)
    assert set(states(fake)["app/files"][1:]) <= {"FAILURE", "CANCELED"}


def test_members_of_an_application_run_one_after_the_other_and_the_rest_beside_them(site, dagster_home):
    """Also when the one before is slow, or fails; one that waits leaves its worker to others."""
    chain = [policy("app/db"), policy("app/files", after="app/db"), policy("app/objects", after="app/files")]
    make_fake(site, *chain, policy("web/one"), policy("web/two"), home=dagster_home)
    behave(site, app_db={"meet": 3}, app_files={"refuse": "not mounted"})
    done = site.cli("backup", "run", "--all")
    assert done.returncode == 1 and done.stderr.count("app/files: failed: not mounted") == 1
    assert [item["target"] for item in records(site, "started.jsonl") if "app/" in item["target"]] == [
        "app/db",
        "app/files",
        "app/objects",
    ]
    spans = {item["target"]: item for item in records(site, "spans.jsonl")}
    assert set(spans) == {"app/db", "app/objects", "web/one", "web/two"}
    assert spans["app/objects"]["start"] >= spans["app/db"]["end"]


def test_of_several_named_the_order_is_kept_without_those_between(site, dagster_home):
    chain = [policy("app/db"), policy("app/files", after="app/db"), policy("app/objects", after="app/files")]
    make_fake(site, *chain, home=dagster_home)
    behave(site, app_db={"seconds": 1})
    assert site.cli("backup", "run", "--target", "objects", "--target", "db").returncode == 0
    first, second = records(site, "spans.jsonl")
    assert (first["target"], second["target"]) == ("app/db", "app/objects")
    assert second["start"] >= first["end"]
