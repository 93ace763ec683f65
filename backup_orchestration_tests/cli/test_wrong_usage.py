"""Exit code 2: what was asked for is impossible; one line says why, nothing was started, Dagster was not imported."""

import sys

import pytest

from backup_orchestration.core.commands import Command, run

WRONG = {
    "no such group": ["back-up"],
    "no such verb": ["backup", "take"],
    "no verb": ["backup"],
    "no such option": ["backup", "list", "--every"],
    "nothing asked to run": ["backup", "run"],
    "nothing asked to test": ["backup", "restore-test"],
    "both": ["backup", "run", "--all", "--target", "app/files"],
    "both tested": ["backup", "restore-test", "--all", "--target", "app/files"],
    "unknown target to run": ["backup", "run", "--target", "nothing"],
    "one of two unknown": ["backup", "run", "--target", "app/files", "--target", "nothing"],
    "unknown target to test": ["backup", "restore-test", "--target", "app/nothing"],
    "unknown target to list": ["backup", "list", "--target", "nothing"],
    "unknown target to show": ["backup", "status", "--target", "nothing", "--json"],
    "empty target": ["backup", "list", "--target", ""],
    "ambiguous": ["backup", "run", "--target", "db"],
    "ambiguous to show": ["backup", "status", "--target", "db"],
    "one snapshot of many targets": ["backup", "restore-test", "--all", "--snapshot", "20200101T000000Z-deadbeef"],
    "all on schedule": ["backup", "run", "--schedule", "--all"],
    "one on schedule": ["backup", "run", "--schedule", "--target", "app/files"],
    "reread on schedule": ["backup", "run", "--schedule", "--reread"],
    "no such lab verb": ["devlab", "restart"],
    "unknown snapshot": ["backup", "restore-test", "--target", "app/files", "--snapshot", "20200101T000000Z-deadbeef"],
}
NOT_BUILT = [
    *(["backup", verb] for verb in ("reconcile", "report")),
    ["backup", "reconcile", "--all", "--dry-run"],
]
NEED_SETTINGS = [
    ["backup", "run", "--all"],
    ["backup", "run", "--schedule"],
    ["backup", "restore-test", "--all"],
    ["backup", "list"],
    ["backup", "status", "--json"],
    ["backup", "policies"],
]


@pytest.fixture
def several(make):
    site = make("app/files", "app/db", "web/db")
    site.backup("app/files")
    (site.root / "started.jsonl").unlink()
    return site


def complaint(said):
    assert said.code == 2 and not said.out
    lines = said.err.strip().splitlines()
    assert "Traceback" not in said.err and lines
    return lines[-1]


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_it_is_refused(several, say, arguments):
    if arguments == ["backup"]:
        said = say(*arguments)
        assert said.code == 2 and "Usage" in said.out + said.err
        return
    last = complaint(say(*arguments))
    assert last.lower().startswith("error: ")
    assert not (several.root / "started.jsonl").exists()
    assert not (several.root / "evidence").exists()


def test_an_ambiguous_name_lists_what_it_may_mean(several, say):
    assert "'db' is ambiguous: app/db, web/db" in complaint(say("backup", "run", "--target", "db"))


def test_an_unknown_target_lists_those_there_are(several, say):
    assert "choose one of: app/db, app/files, web/db" in complaint(say("backup", "run", "--target", "x"))


@pytest.mark.parametrize("arguments", NOT_BUILT, ids=" ".join)
def test_what_is_not_built_says_so(several, say, arguments):
    assert "is not built yet" in complaint(say(*arguments))
    assert not (several.root / "started.jsonl").exists()


@pytest.mark.parametrize("arguments", NEED_SETTINGS, ids=" ".join)
def test_without_settings(site, say, arguments):
    (site.root / "homelab.toml").unlink()
    assert f"no settings: there is no homelab.toml in {site.root}" in complaint(say(*arguments))


def test_settings_that_are_named_and_missing(fake, say):
    said = say("backup", "list", settings=fake.root / "elsewhere.toml")
    assert "elsewhere.toml, named by HOMELAB_SETTINGS, does not exist" in complaint(said)


@pytest.mark.parametrize("text", ["this is no toml", "unknown = 1\n", ""])
def test_broken_settings(fake, say, text):
    settings = fake.root / "homelab.toml"
    settings.write_text(text + settings.read_text() if text == "unknown = 1\n" else text)
    for arguments in NEED_SETTINGS:
        assert str(settings) in complaint(say(*arguments))


def test_settings_without_any_policy(site, say):
    site.declare()
    for arguments in NEED_SETTINGS[:5]:
        assert "declares no policy" in complaint(say(*arguments))


def test_a_snapshot_of_a_repository_that_is_gone_is_a_failure(fake, say):
    """The question was a sensible one; the answer is bad news."""
    said = say(*WRONG["unknown snapshot"])
    assert said.code == 1 and said.err.startswith("failed: ") and "holds no repository" in said.err


def test_wrong_usage_costs_no_import_of_dagster(fake):
    """Its import costs seconds, and a person waits for the answer to a spelling mistake."""
    fake.backup()
    cases = [WRONG["unknown target to run"], WRONG["nothing asked to test"], WRONG["unknown snapshot"], NOT_BUILT[0]]
    code = (
        "import sys\nfrom backup_orchestration.cli.main import main\n"
        f"for arguments in {cases!r}:\n"
        "    sys.argv = ['homelab', *arguments]\n"
        "    try:\n        main()\n"
        "    except SystemExit as end:\n        assert end.code == 2, arguments\n"
        "    assert 'dagster' not in sys.modules, arguments\n"
    )
    done = run(Command([sys.executable, "-c", code], 60, {}, fake.root))
    assert done.returncode == 0, done.stderr
