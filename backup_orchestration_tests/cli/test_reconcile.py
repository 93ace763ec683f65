"""`homelab backup reconcile`: what it prints, and how it ends."""

import shutil

from fakes import ago, behave, taken, vanish


def two(fake):
    made = [taken(fake, ago(hours=hours)) for hours in (5, 2)]
    for item in made:
        assert fake.restore_test(key=item.key).passed
    return made


def evidence(site):
    return sorted(path.name for path in (site.root / "evidence").rglob("*.evidence"))


def test_a_plan_changes_nothing_and_then_it_is_done(fake, say):
    old, new = two(fake)
    vanish(fake, new)
    before = evidence(fake)
    planned = say("backup", "reconcile", "--all", "--plan")
    lines = planned.out.splitlines()
    assert planned.code == 1 and lines[0] == f"app/files: to add: {old.key}"
    assert lines[1].startswith(f"app/files: {new.key} vanished: it is no longer in the repository; it passed a restore")
    assert lines[2] == f"app/files: 1 snapshot, 1 verified, recovery point {old.key}"
    assert evidence(fake) == before
    done = fake.cli("backup", "reconcile", "--all")
    assert done.returncode == 1 and not done.stderr
    assert done.stdout.splitlines() == [lines[0].replace("to add", "added"), *lines[1:]]
    again = fake.cli("backup", "reconcile", "--all", "--json")
    assert again.returncode == 0 and '"findings": []' in again.stdout and '"added": []' in again.stdout
    assert f"{new.key} was found vanished at 20" in say("backup", "status").out


def test_json_says_all_of_it(fake, say):
    old, new = two(fake)
    vanish(fake, new)
    (row,) = say("backup", "reconcile", "--target", "files", "--plan", "--json").json
    reason = row["findings"][0].pop("reason")
    assert reason.startswith("is no longer in the repository")
    assert row == {
        "target": "app/files", "applied": False, "snapshots": 1, "verified": 1, "recovery_point": old.key,
        "added": [old.key], "dropped": [], "findings": [{"what": "vanished", "key": new.key}], "unlisted": [],
        "missing": [], "contradictions": [],
    }  # fmt: skip


def test_a_deleted_dagster_home_is_rebuilt(fake, say):
    two(fake)
    assert fake.cli("backup", "reconcile", "--all").returncode == 0
    before = [say("backup", verb, "--json").out for verb in ("status", "list", "ledger")]
    shutil.rmtree(fake.root / ".homelab" / "dagster")
    done = fake.cli("backup", "reconcile", "--all")
    assert done.returncode == 0 and done.stdout.count("added: ") == 2
    assert [say("backup", verb, "--json").out for verb in ("status", "list", "ledger")] == before


def test_a_target_that_cannot_be_asked_does_not_hide_the_others(make, say):
    site = make("app/files", "app/other")
    taken(site, ago(hours=1), "app/other")
    behave(site, app_files={"list_error": "boom"})
    for more in (("--plan",), ()):
        arguments = ("backup", "reconcile", "--all", "--json", *more)
        done = say(*arguments) if more else site.cli(*arguments)
        err = done.err if more else done.stderr
        out = done.out if more else done.stdout
        assert (done.code if more else done.returncode) == 1
        assert "app/files: failed: RuntimeError: boom" in err and '"target": "app/other"' in out
