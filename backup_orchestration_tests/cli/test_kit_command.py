"""`homelab backup kit` and `runbook`: what they refuse, and what they say; on the fake provider."""

import pytest
from fakes import ago, behave, make_fake, policy, taken

from backup_orchestration.core.errors import SecretError
from backup_orchestration.operations.kit import write_kit


def test_a_kit_names_what_to_restore(fake, say, tmp_path_factory):
    old, new = taken(fake, ago(hours=2)), taken(fake, ago(hours=1))
    assert fake.restore_test(key=old.key).passed
    to = tmp_path_factory.mktemp("kits") / "deep" / "kit"
    done = say("backup", "kit", "--to", str(to))
    assert done.code == 0, done.err
    assert f"app/files: restore/app-files.sh: {old.key}, taken " in done.out and "restore test passed" in done.out
    assert f"destinations.default.password: {fake.root}/secrets/password" in done.out
    text = (to / "restore" / "app-files.sh").read_text()
    assert f"SNAPSHOT=${{2:-{old.snapshot_id}}}" in text and new.snapshot_id not in text
    assert (to / "settings" / "homelab.toml").read_text() == (fake.root / "homelab.toml").read_text()
    assert (to / "settings" / "services.py").is_file()
    assert not list((to / "secrets").iterdir())


def test_one_is_never_written_over(fake, say, tmp_path_factory):
    taken(fake, ago(hours=1))
    to = tmp_path_factory.mktemp("kits") / "kit"
    to.mkdir()
    (to / "mine").write_text("keep")
    done = say("backup", "kit", "--to", str(to))
    assert done.code == 2 and f"--to: {to} is there already" in done.err
    assert [path.name for path in to.parent.iterdir()] == ["kit"] and (to / "mine").read_text() == "keep"


@pytest.mark.parametrize("place", ["backups", "evidence"])
def test_keys_never_lie_beside_what_they_open(fake, say, place):
    taken(fake, ago(hours=1))
    to = fake.root / place / "kit"
    done = say("backup", "kit", "--to", str(to), "--with-secrets")
    assert done.code == 2 and "the keys would lie beside what they open" in done.err
    assert not to.exists()


def test_a_repository_that_cannot_be_read_is_said_and_its_script_written(make, say, tmp_path_factory):
    site = make("app/files", "app/other")
    taken(site, ago(hours=1))
    behave(site, **{"app/other": {"list_error": "no answer"}})
    to = tmp_path_factory.mktemp("kits") / "kit"
    done = say("backup", "kit", "--to", str(to), "--json")
    assert done.code == 1 and "app/other: no snapshot is known: RuntimeError: no answer" in done.err
    first, second = done.json["targets"]
    assert (first["snapshot"] is None, second["snapshot"]) == (False, None)
    assert (to / "restore" / "app-other.sh").is_file()


def test_nothing_is_left_of_one_that_could_not_be_written(fake, say, tmp_path_factory):
    taken(fake, ago(hours=1))
    to = tmp_path_factory.mktemp("kits") / "kit"
    homelab = fake.homelab
    (fake.root / "secrets" / "password").unlink()
    with pytest.raises(SecretError, match=r"destinations\.default\.password"):
        write_kit(homelab, ["app/files"], to, with_secrets=True)
    assert not list(to.parent.iterdir())


def test_the_runbook_has_the_steps_and_what_comes_after(site, say, dagster_home):
    described = policy().replace('provider="fake"', 'provider="fake", description="the notes", stand_in=True')
    fake = make_fake(site, described, home=dagster_home)
    snapshot = taken(fake, ago(hours=1))
    done = say("backup", "runbook")
    assert done.code == 0, done.err
    for line in (
        "## app/files",
        "the notes",
        f"SNAPSHOT={snapshot.snapshot_id}",
        f"- Restore: {snapshot.key}, taken ",
        "A STAND-IN, not the real service.",
        "# stop what writes to ",
        f"- `destinations.default.password`: {site.root}/secrets/password",
    ):
        assert line in done.out
    assert "NOT VERIFIED" in done.out


def test_what_belongs_together_is_named_in_its_order(site, say, dagster_home):
    database = policy("app/database")
    files = policy("app/files").replace('provider="fake"', 'provider="fake", after="app/database"')
    fake = make_fake(site, database, files, home=dagster_home)
    made = [taken(fake, ago(hours=3), "app/database"), taken(fake, ago(hours=2), "app/files")]
    said = say("backup", "runbook").out
    assert "- **app**: app/database, then app/files." in said
    assert "No set of verified snapshots fits together" in said
    assert all(fake.restore_test(item.target).passed for item in made)
    said = say("backup", "runbook").out
    first, second = (f"  `{item.target}`: `{item.snapshot_id}`" for item in made)
    assert 0 < said.index(first) < said.index(second)
