"""`prune`: what it shows, what it removes, and what it refuses; on the fake provider."""

import json

import pytest
from fakes import ago, behave, damage, make_fake, policy, records, taken

KEEP_TWO = "__import__('backup_orchestration').Retention(keep_last=2, keep_daily=0, keep_weekly=0, keep_monthly=0)"


@pytest.fixture
def two(site, dagster_home):
    """`app/files` keeps two snapshots."""
    declared = policy().replace('provider="fake"', f'provider="fake", retention={KEEP_TWO}')
    return make_fake(site, declared, home=dagster_home)


def history(site, count):
    """So many snapshots, oldest first; the oldest is verified."""
    made = [taken(site, ago(days=days)) for days in range(count, 0, -1)]
    assert site.restore_test(key=made[0].key).passed
    return made


def keys(site):
    return [item.key for item in site.homelab.repository("app/files").snapshots()]


def test_the_plan_is_shown_and_nothing_touched(two, say):
    first, second, third, fourth = history(two, 4)
    done = say("backup", "prune", "--target", "files", "--plan")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"app/files: keep    {fourth.key}  last snapshot",
        f"app/files: keep    {third.key}  last snapshot",
        f"app/files: remove  {second.key}",
        f"app/files: keep    {first.key}  recovery point",
        "app/files: 1 of 4 snapshots go",
    ]
    assert len(keys(two)) == 4 and records(two, "pruned.jsonl") == []


def test_the_plan_is_applied_and_the_recovery_point_survives(two):
    first, second, third, fourth = history(two, 4)
    done = two.cli("backup", "prune", "--all")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "app/files: 1 of 4 snapshots go",
        "app/files: pruned: 1 snapshot removed",
    ]
    assert keys(two) == [first.key, third.key, fourth.key]
    assert two.judge().recovery_point == first
    assert records(two, "pruned.jsonl") == [{"keys": [second.key]}]


def test_more_than_half_needs_their_number(two):
    made = history(two, 6)
    assert two.restore_test(key=made[-1].key).passed  # the oldest is no recovery point any more
    done = two.cli("backup", "prune", "--all")
    assert done.returncode == 1
    assert "retention would remove 4 of 6 snapshots, more than half; nothing was removed" in done.stderr
    assert "say --force 4" in done.stderr and "6 snapshots go, more than half: say --force 4" in done.stdout
    done = two.cli("backup", "prune", "--target", "files", "--force", "3")
    assert done.returncode == 1
    assert "retention would remove 4 snapshots, and 3 may go; nothing was removed" in done.stderr
    assert len(keys(two)) == 6
    done = two.cli("backup", "prune", "--target", "files", "--force", "4", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["target"], row["applied"], row["halted"], row["needs_force"]) == ("app/files", True, [], 4)
    assert [item["key"] for item in row["snapshots"] if item["keep"]] == [made[5].key, made[4].key]
    assert row["snapshots"][0]["reasons"] == ["last snapshot", "recovery point"]
    assert keys(two) == [made[4].key, made[5].key]


def test_nothing_goes_while_nothing_is_verified(two):
    made = [taken(two, ago(days=days)) for days in (3, 2, 1)]
    done = two.cli("backup", "prune", "--all")
    assert done.returncode == 1
    assert "app/files: nothing is pruned: no snapshot is verified; 1 snapshot would go" in done.stdout
    assert keys(two) == [item.key for item in made]


def test_where_nothing_would_go_it_is_no_failure_that_nothing_is_verified(two):
    taken(two, ago(days=1))
    done = two.cli("backup", "prune", "--all")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "app/files: nothing is pruned: no snapshot is verified"


def test_nothing_goes_from_a_suspect_repository_although_its_point_passed_again(two, say):
    made = history(two, 4)
    damage(two, made[2])
    assert not two.restore_test(key=made[2].key).passed
    assert two.restore_test(key=made[0].key).passed  # it is not suspect any more, and the damage is still there
    assert two.judge().protection != "suspect"
    done = say("backup", "prune", "--all", "--plan")
    assert f"nothing is pruned: {made[2].key} failed its restore test" in done.out
    assert two.cli("backup", "prune", "--all").returncode == 1
    assert len(keys(two)) == 4


def test_nothing_goes_where_something_lies_that_is_not_listed(two):
    history(two, 4)
    behave(two, app_files={"unlisted": ["a snapshot file cannot be read"]})
    done = two.cli("backup", "prune", "--all")
    assert done.returncode == 1
    assert "nothing is pruned: a snapshot file cannot be read; 1 snapshot would go" in done.stdout
    assert len(keys(two)) == 4


def test_nothing_goes_where_the_newest_verified_one_is_not_listed(two, say):
    made = history(two, 5)
    assert two.restore_test(key=made[3].key).passed
    (two.root / "backups" / "fake-app-files" / "snapshots" / made[3].snapshot_id / "facts.json").unlink()
    done = say("backup", "prune", "--all", "--plan")
    assert f"nothing is pruned: {made[3].key} passed its restore test and is no longer listed" in done.out


def test_a_provider_that_removes_nothing_is_found_out(two):
    history(two, 4)
    behave(two, app_files={"keeps_all": True})
    done = two.cli("backup", "prune", "--all")
    assert done.returncode == 1
    assert "pruning reported success and left" in done.stderr and "pruned:" not in done.stdout


def test_one_that_cannot_be_planned_does_not_hide_the_others(make, say):
    site = make("app/files", "app/other")
    taken(site, ago(days=1), "app/other")
    taken(site, ago(days=1))
    behave(site, app_files={"list_error": "boom"})
    done = say("backup", "prune", "--all", "--plan", "--json")
    assert done.code == 1 and "app/files: failed: RuntimeError: boom" in done.err
    assert [(row["target"], row["applied"]) for row in done.json] == [("app/other", False)]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--all", "--force", "2"), "--force needs exactly one target"),
        (("--target", "files", "--force", "2", "--plan"), "--plan removes nothing"),
        (("--target", "files", "--force", "0"), "0 is not in the range"),
        ((), "nothing was asked for"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(make, say, arguments, why):
    make("app/files", "app/other")
    done = say("backup", "prune", *arguments)
    assert done.code == 2 and why in done.err


@pytest.fixture
def application(site, dagster_home):
    """`app/db` keeps one snapshot, and `app/files` comes after it."""
    keep_one = KEEP_TWO.replace("keep_last=2", "keep_last=1")
    database = policy("app/db").replace('provider="fake"', f'provider="fake", retention={keep_one}')
    return make_fake(site, database, policy("app/files", after="app/db"), home=dagster_home)


@pytest.fixture
def night(application):
    """A set that is verified, and a day later a database that is verified too."""
    first = taken(application, ago(days=3), "app/db")
    files = taken(application, ago(days=2), "app/files")
    for target in ("app/db", "app/files"):
        assert application.restore_test(target).passed
    second = taken(application, ago(days=1), "app/db")
    assert application.restore_test("app/db").passed
    return first, files, second


def test_the_recovery_point_of_an_application_stays(night, application, say):
    first, _, second = night
    done = say("backup", "prune", "--target", "app/db")
    assert done.code == 0, done.err
    assert done.out.splitlines()[:2] == [
        f"app/db: keep    {second.key}  last snapshot, recovery point",
        f"app/db: keep    {first.key}  recovery point of the application app",
    ]
    taken(application, ago(hours=1), "app/files")
    assert application.restore_test("app/files").passed
    assert f"app/db: remove  {first.key}" in say("backup", "prune", "--target", "app/db", "--plan").out


def test_nothing_of_an_application_goes_while_another_member_is_suspect(night, application, say):
    _, files, _ = night
    damage(application, files)
    assert not application.restore_test("app/files").passed
    done = say("backup", "prune", "--target", "app/db")
    assert done.code == 1
    assert "app/files of the same application has no verified snapshot that counts any more" in done.out + done.err


def test_nothing_of_an_application_goes_while_the_repository_of_another_member_is_gone(night, application, say):
    (application.root / "backups" / "fake-app-files").rename(application.root / "elsewhere")
    done = say("backup", "prune", "--target", "app/db")
    assert done.code == 1
    assert "app/files of the same application has no verified" in done.out + done.err
    assert len(application.homelab.repository("app/db").snapshots()) == 2
