"""Repositories that are listed while Dagster is imported: in processes of their own, and never to anybody's harm."""

import os
import signal
import time

import pytest
from fakes import ago, alive, behave, records, taken

from backup_orchestration.cli.ahead import listed_ahead


def test_a_restore_test_takes_what_was_listed_ahead(fake):
    taken(fake, ago(minutes=1))
    (fake.root / "listed.jsonl").unlink(missing_ok=True)
    done = fake.cli("backup", "restore-test", "--all")
    assert done.returncode == 0, done.stderr
    (listing,) = records(fake, "listed.jsonl")
    (restore,) = records(fake, "restored.jsonl")
    assert listing["pid"] != restore["pid"]


def test_where_nothing_was_found_ahead_the_worker_asks_and_tells(fake):
    behave(fake, app_files={"list_error": "broken"})
    done = fake.cli("backup", "restore-test", "--all")
    assert done.returncode == 1
    assert done.stderr.count("broken") == 1
    assert len({item["pid"] for item in records(fake, "listed.jsonl")}) == 2


def test_what_is_found_elsewhere_is_handed_over_once():
    def large(target):
        return [target, os.getpid(), "x" * 1_000_000]  # more than a pipe holds

    with listed_ahead(["a", "b"], large) as known:
        found = {target: known(target) for target in ("b", "a")}
        assert [item[0] for item in found.values()] == ["b", "a"]
        assert len({os.getpid(), *(item[1] for item in found.values())}) == 3
        assert known("a") is None
        assert known("c") is None


@pytest.mark.parametrize("how", ["raises", "exits", "is killed"])
def test_what_fails_is_not_known_and_says_nothing(how, capfd):
    def fails(_target):
        if how == "raises":
            raise RuntimeError("broken")
        if how == "exits":
            raise SystemExit(3)
        os.kill(os.getpid(), signal.SIGKILL)

    with listed_ahead(["a"], fails) as known:
        assert known("a") is None
    assert capfd.readouterr() == ("", "")


def test_who_still_lists_when_the_block_ends_is_stopped_in_order(tmp_path, until):
    def slow(_target):
        try:
            (tmp_path / "pid").write_text(f"{os.getpid()}\n")
            time.sleep(300)
        finally:
            (tmp_path / "put-away").touch()

    with listed_ahead(["a"], slow):
        pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
        assert alive(pid)
    assert not alive(pid)
    assert (tmp_path / "put-away").exists()


def test_an_answer_that_nobody_asks_for_holds_up_nothing(tmp_path, until):
    """It is larger than the pipe, so its sender waits."""

    def large(_target):
        (tmp_path / "found").touch()
        return ["x" * 1_000_000]

    with listed_ahead(["a"], large):
        until((tmp_path / "found").exists)
