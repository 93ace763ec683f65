"""`homelab backup doctor`: what is missing, and what to do about it."""

from pathlib import Path

import pytest

from backup_orchestration.core import tools
from backup_orchestration.providers.restic import RESTIC
from backup_orchestration.toolbox.install import install_command

pytestmark = pytest.mark.tools


@pytest.fixture
def no_tools(site, monkeypatch):
    """A directory of tools without any in it: looked at and nothing else."""
    place = site.root / "no-tools"
    place.mkdir()
    monkeypatch.setenv("HOMELAB_TOOLS", str(place))
    return place


def lines(said):
    return [line for line in said.out.splitlines() if not line.startswith(" ")]


def test_all_is_well(site, say, restic):
    said = say("backup", "doctor")
    assert said.code == 0, said.out
    assert all(line.startswith("ok ") for line in lines(said))
    shown = "\n".join(lines(said))
    assert f"settings: {site.root / 'homelab.toml'}, 1 policies" in shown
    assert "restic: 0." in shown and str(restic) in shown
    for what in ("destinations.default", "evidence", "home"):
        assert f"{what}: {site.root}" in shown
    assert "GiB free, made when needed" in shown


def test_a_missing_tool_is_named_with_its_remedy(site, say, no_tools):
    said = say("backup", "doctor")
    assert said.code == 1
    (missing,) = [line for line in lines(said) if line.startswith("MISSING")]
    assert missing.startswith("MISSING  restic: restic 0.17.1 or newer is needed") and str(no_tools) in missing
    remedy = said.out.splitlines()[said.out.splitlines().index(missing) + 1]
    assert remedy.strip() == f"put it into {no_tools}, or unset HOMELAB_TOOLS"


def test_without_a_place_of_its_own_the_remedy_is_the_systems_command(site, say, monkeypatch):
    monkeypatch.delenv("HOMELAB_TOOLS", raising=False)
    monkeypatch.setenv("PATH", str(site.root))
    monkeypatch.setenv("XDG_DATA_HOME", str(site.root))
    said = say("backup", "doctor")
    assert said.code == 1
    assert f"none in PATH and set-up\n         {install_command('restic')}\n" in said.out


def test_a_tool_that_is_too_old(site, say, no_tools):
    old = no_tools / "restic"
    old.write_text("#!/bin/sh\necho 'restic 0.16.4 compiled with go1.21'\n")
    old.chmod(0o755)
    said = say("backup", "doctor")
    assert said.code == 1 and f"{old} is 0.16.4" in said.out


def test_without_settings_it_examines_the_machine(site, say, restic):
    (site.root / "homelab.toml").unlink()
    said = say("backup", "doctor")
    assert said.code == 0
    assert "settings: none here; `homelab init` writes some" in said.out
    assert "restic: 0." in said.out


def test_without_settings_and_without_tools(site, say, no_tools):
    (site.root / "homelab.toml").unlink()
    said = say("backup", "doctor")
    assert said.code == 1 and "MISSING  restic" in said.out


def test_settings_that_are_refused(site, say):
    settings = site.root / "homelab.toml"
    settings.write_text("colour = 1\n" + settings.read_text())
    said = say("backup", "doctor")
    assert said.code == 2
    (missing,) = [line for line in lines(said) if line.startswith("MISSING")]
    assert missing.startswith(f"MISSING  settings: {settings}: colour: ")
    assert "remove colour, or correct its spelling" in said.out


def test_a_missing_secret(site, say):
    (site.root / "secrets" / "password").unlink()
    said = say("backup", "doctor")
    assert said.code == 2 and "destinations.default.password" in said.out


@pytest.mark.unprivileged  # root may write everywhere
def test_a_place_that_cannot_be_written(site, say):
    place = site.root / "backups"
    place.mkdir(mode=0o500)
    said = say("backup", "doctor")
    assert said.code == 1 and f"MISSING  destinations.default: {place} cannot be written" in said.out


def test_it_says_when_a_webhook_is_told(site, say):
    settings = site.root / "homelab.toml"
    (site.root / "secrets" / "url").write_text("https://token@host.invalid")
    settings.write_text(settings.read_text() + '[notifications.phone]\nurl = { file = "secrets/url" }\n')
    said = say("backup", "doctor")
    assert "ok       notifications.phone: alerts are posted to it while `run --schedule` runs" in said.out
    assert "token" not in said.out
    assert Path(site.root / ".homelab").exists() is False


def named(said):
    """What is examined before the settings."""
    return [line.split()[1].rstrip(":") for line in lines(said)]


def test_only_the_tools_that_the_policies_need_are_named(site, say, restic):
    assert named(say("backup", "doctor"))[:3] == ["python", "restic", "settings"]
    site.declare(
        "BackupPolicy(target='lab/code', source=Files(path=HERE / 'data'), "
        "restore_test=RestoreTest(probes=[Probe(name='git')]))"
    )
    assert named(say("backup", "doctor"))[:4] == ["python", "git", "restic", "settings"]


def test_the_labs_tools_are_named_without_settings(site, say, no_tools):
    (site.root / "homelab.toml").write_text("colour = 1\n")
    said = say("backup", "doctor", "--devlab")
    assert said.code == 1
    assert named(said) == ["python", "git", "pgbackrest", "postgres", "rclone", "restic"]
    assert len([line for line in lines(said) if line.startswith("MISSING")]) == 5


def test_install_with_everything_there_changes_nothing(site, say, restic):
    said = say("backup", "doctor", "--install")
    assert said.code == 0 and "unpack" not in said.err
    assert f"at {tools.find(RESTIC).path}" in said.out
