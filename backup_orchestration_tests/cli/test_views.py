"""`list`, `status` and `policies`: what scripts read."""

import json
import time
from datetime import timedelta

import pytest
from fakes import ago, behave, damage, make_fake, policy, stored, taken, vanish

SNAPSHOT = ["target", "provider", "repository", "snapshot_id", "key", "taken_at", "size_bytes", "description",
            "verified", "tested_at"]  # fmt: skip
STATUS = ["target", "protection", "recovery_point_at", "rpo_seconds", "last_backup", "last_restore_test", "encryption",
          "reason"]  # fmt: skip
RFC3339 = "%Y-%m-%dT%H:%M:%SZ"


def rows(site, say, verb, *arguments):
    said = say("backup", verb, "--json", *arguments)
    assert said.out == json.dumps(said.json, indent=2, ensure_ascii=False) + "\n"
    return said.code, said.json


def test_a_listed_snapshot(fake, say):
    snapshot = taken(fake, ago(hours=3))
    evidence = fake.restore_test(key=snapshot.key)
    code, (row,) = rows(fake, say, "list")
    assert code == 0 and list(row) == SNAPSHOT
    assert row == {
        "target": "app/files",
        "provider": "fake",
        "repository": str(fake.root / "backups" / "fake-app-files"),
        "snapshot_id": snapshot.snapshot_id,
        "key": f"{snapshot.taken_at:%Y%m%dT%H%M%SZ}-{snapshot.snapshot_id[:8]}",
        "taken_at": snapshot.taken_at.strftime(RFC3339),
        "size_bytes": 16388,
        "description": "",
        "verified": True,
        "tested_at": evidence.finished_at.strftime(RFC3339),
    }


def test_the_newest_stands_first_over_all_targets(make, say):
    site = make("app/files", "app/other")
    ages = {5: "app/files", 2: "app/other", 9: "app/other", 1: "app/files"}
    keys = {hours: taken(site, ago(hours=hours), target).key for hours, target in ages.items()}
    _, found = rows(site, say, "list")
    assert [(row["target"], row["key"]) for row in found] == [(ages[hours], keys[hours]) for hours in (1, 2, 5, 9)]
    _, found = rows(site, say, "list", "--target", "other")
    assert [row["key"] for row in found] == [keys[2], keys[9]]


def test_verified_is_the_last_word_of_each_snapshot(fake, say):
    failed, passed, untested = (taken(fake, ago(hours=hours)) for hours in (9, 5, 2))
    for snapshot in (failed, passed):
        fake.restore_test(key=snapshot.key)
    damage(fake, failed)
    fake.restore_test(key=failed.key)
    _, found = rows(fake, say, "list")
    assert [(row["key"], row["verified"], row["tested_at"] is None) for row in found] == [
        (untested.key, False, True),
        (passed.key, True, False),
        (failed.key, False, False),
    ]


def test_no_snapshot_is_an_empty_array(fake, say):
    assert rows(fake, say, "list") == (0, [])
    assert say("backup", "list").out == "no snapshots\n"


def test_a_fresh_target(fake, say):
    snapshot = fake.backup()
    evidence = fake.restore_test()
    code, (row,) = rows(fake, say, "status")
    assert code == 0 and list(row) == STATUS
    assert row == {
        "target": "app/files",
        "protection": "fresh",
        "recovery_point_at": snapshot.taken_at.strftime(RFC3339),
        "rpo_seconds": 36 * 3600,
        "last_backup": {"at": snapshot.taken_at.strftime(RFC3339), "outcome": "completed", "key": snapshot.key},
        "last_restore_test": {
            "at": evidence.finished_at.strftime(RFC3339),
            "outcome": "passed",
            "key": snapshot.key,
        },
        "encryption": "none",
        "reason": "",
    }


def test_a_target_that_nobody_has_backed_up(fake, say):
    code, (row,) = rows(fake, say, "status")
    assert code == 1
    assert (row["protection"], row["reason"]) == ("never", "no snapshot")
    assert row["recovery_point_at"] is row["last_backup"] is row["last_restore_test"] is None


def test_every_protection_in_one_table(site, dagster_home, say):
    """Rows of status stand newest recovery point first; what has none stands last. One that is not fresh: exit 1."""
    names = [f"app/{word}" for word in ("never", "suspect", "stale", "fresh", "short")]
    short = policy("app/short").replace(", provider", ", rpo=__import__('datetime').timedelta(minutes=30), provider")
    make_fake(site, *map(policy, names[:-1]), short, home=dagster_home)
    hours = {"app/suspect": 2, "app/stale": 100, "app/fresh": 3, "app/short": 1}
    for target, age in hours.items():
        snapshot = taken(site, ago(hours=age), target)
        site.restore_test(target, snapshot.key)
        if target == "app/suspect":
            damage(site, snapshot)
            assert not site.restore_test(target, snapshot.key).passed
    code, found = rows(site, say, "status")
    assert code == 1
    assert [(row["target"], row["protection"]) for row in found] == [
        ("app/short", "stale"),
        ("app/fresh", "fresh"),
        ("app/stale", "stale"),
        ("app/never", "never"),
        ("app/suspect", "suspect"),
    ]
    assert {row["target"]: row["rpo_seconds"] for row in found}["app/short"] == 1800
    assert rows(site, say, "status", "--target", "fresh")[0] == 0
    table = say("backup", "status")
    assert table.code == 1
    assert table.out.splitlines()[0].split()[:2] == ["TARGET", "PROTECTION"]
    assert [line.split()[:2] for line in table.out.splitlines()[1:6]] == [
        [f"app/{word}", word] if word != "short" else ["app/short", "stale"]
        for word in ("fresh", "never", "short", "stale", "suspect")
    ]
    assert "the newest verified data is 4.2 d old, the RPO is 36.0 h" in table.out
    assert "failed its restore test: files: " in table.out


def test_the_recovery_point_that_vanished_is_gone_from_both(fake, say):
    old, new = taken(fake, ago(hours=9)), taken(fake, ago(hours=2))
    for snapshot in (old, new):
        fake.restore_test(key=snapshot.key)
    vanish(fake, new)
    assert [row["key"] for row in rows(fake, say, "list")[1]] == [old.key]
    assert rows(fake, say, "status")[1][0]["recovery_point_at"] == old.taken_at.strftime(RFC3339)


def test_a_repository_that_cannot_be_read_does_not_hide_the_others(make, say):
    site = make("app/files", "app/other")
    good, bad = site.backup("app/files"), site.backup("app/other")
    (stored(site, bad) / "facts.json").write_text("{")
    listed = say("backup", "list", "--json")
    assert listed.code == 1 and [row["key"] for row in listed.json] == [good.key]
    assert "app/other: failed: " in listed.err
    shown = say("backup", "status", "--json")
    assert shown.code == 1
    assert {row["target"]: row["protection"] for row in shown.json} == {"app/files": "never", "app/other": "suspect"}


@pytest.mark.parametrize("word", ["git-lab/web-files", "git-lab-web-files", "web-files"])
def test_three_ways_to_name_a_target(make, say, word):
    site = make("git-lab/web-files", "git-lab/files")
    site.backup("git-lab/web-files")
    site.backup("git-lab/files")
    _, found = rows(site, say, "list", "--target", word)
    assert [row["target"] for row in found] == ["git-lab/web-files"]


def test_a_failed_last_backup_is_shown_until_one_succeeds(fake, say):
    """Snapshots only tell of what succeeded; Dagster's run records tell of the rest."""
    first = fake.backup()
    behave(fake, app_files={"refuse": "not mounted"})
    assert fake.cli("backup", "run", "--all").returncode == 1
    (row,) = rows(fake, say, "status")[1]
    assert (row["last_backup"]["outcome"], row["last_backup"]["key"]) == ("failed", None)
    assert row["last_backup"]["at"] >= first.taken_at.strftime(RFC3339)
    assert "failed 20" in say("backup", "status").out
    behave(fake)
    time.sleep(1.1)  # the failure is known by the second
    second = fake.backup()
    (row,) = rows(fake, say, "status")[1]
    assert row["last_backup"]["outcome"] == "completed"
    assert row["last_backup"]["key"] == second.key


def test_policies_name_every_origin(make, say):
    site = make("app/files", "app/other")
    settings = site.root / "homelab.toml"
    said = say("backup", "policies")
    assert said.code == 0
    for line in (
        f"settings      {settings}",
        f"home          {site.root / '.homelab'} (Dagster's home: {site.root / '.homelab' / 'dagster'})",
        f"destination   default: {site.root / 'backups'} (password: file secrets/password)",
        f"evidence      {site.root / 'evidence'} (key: file secrets/evidence-key)",
        f"provider      fake: {settings}: providers: ./fake_provider.py:Fake",
        "provider      restic: entry point restic of backup-orchestration",
        "probe         files: entry point files of backup-orchestration",
        "probe         sqlite: entry point sqlite of backup-orchestration",
        *(f"{name}: declared in {settings}: contributors: ./services.py" for name in ("app/files", "app/other")),
    ):
        assert line in said.out.splitlines(), line
    assert "correct horse" not in said.out
    found = say("backup", "policies", "--json").json
    assert [row["target"] for row in found] == ["app/files", "app/other"]
    assert found[0]["declared_in"] == f"{settings}: contributors: ./services.py"
    assert (found[0]["retention"], found[0]["rpo_seconds"]) == ("7/14/4/6", timedelta(hours=36).total_seconds())


def test_what_is_too_wide_for_the_table_of_policies_keeps_both_its_ends(site, say):
    command = ["/srv/export", *(f"--option-{number}" for number in range(30)), "the-end"]
    site.declare(f'BackupPolicy(target="app/export", source=Export(command={command}))')
    (line,) = (line for line in say("backup", "policies").out.splitlines() if line.startswith("app/export "))
    assert "export: /srv/export --option-…" in line and "--option-29 the-end  restic" in line
    assert len(line) < 160
    assert say("backup", "policies", "--json").json[0]["source"] == f"export: {' '.join(command)}"


def test_an_application_stands_below_its_targets_with_who_holds_it_back(make_chain, say):
    site = make_chain
    first, files, newest = (
        taken(site, ago(hours=hours), target) for hours, target in ((30, "app/db"), (29, "app/files"), (6, "app/db"))
    )
    for snapshot in (first, files, newest):
        site.restore_test(snapshot.target, snapshot.key)
    said = say("backup", "status")
    block = said.out.partition("\n\n")[2].splitlines()
    assert [line.split() for line in block[:2]] == [
        ["APPLICATION", "RECOVERY", "POINT", "AGE", "HELD", "BACK", "BY"],
        ["app", first.taken_at.strftime(RFC3339), "30.0", "h", "app/files"],
    ]
    ended = newest.finished_at.strftime(RFC3339)
    assert block[2] == f"app: app/files has no verified snapshot begun after app/db {newest.key} ended, {ended}"
    alone = say("backup", "status", "--applications")
    assert (alone.code, alone.out.splitlines()) == (0, block)
    assert rows(site, say, "status", "--applications", "--target", "files")[1][0]["held_back_by"] == "app/files"
    assert rows(site, say, "status", "--applications", "--target", "web/one") == (0, [])
    assert list(rows(site, say, "status")[1][0]) == STATUS


def test_a_suspect_member_leaves_an_application_without_a_point(make_chain, say):
    site = make_chain
    for hours, target in ((3, "app/db"), (2, "app/files")):
        site.restore_test(target, taken(site, ago(hours=hours), target).key)
    assert rows(site, say, "status", "--applications")[0] == 0
    newest = taken(site, ago(hours=1), "app/files")
    damage(site, newest)
    assert not site.restore_test("app/files", newest.key).passed
    code, (row,) = rows(site, say, "status", "--applications")
    assert (code, row["recovery_point_at"], row["age_seconds"], row["snapshots"]) == (1, None, None, {})
    assert row["held_back_by"] == "app/files"


def test_without_an_application_nothing_is_shown_of_one(fake, say):
    assert "APPLICATION" not in say("backup", "status").out
    assert "no policy says" in say("backup", "status", "--applications").out


@pytest.fixture
def make_chain(site, dagster_home):
    return make_fake(site, policy("app/db"), policy("app/files", after="app/db"), policy("web/one"), home=dagster_home)
