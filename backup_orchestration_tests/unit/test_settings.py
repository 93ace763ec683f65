"""homelab.toml: where it is looked for, what stands in it by default, and how its faults are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_settings import SECRETS, TABLE
from test_settings_refused import break_it

from backup_orchestration.core.errors import SettingsError, UsageError
from backup_orchestration.core.places import Directory, answer_seconds
from backup_orchestration.core.settings import find, read
from backup_orchestration.homelab.load import load

LEAST = """
[destinations.default]
location = "backups"
password = { env = "PASSWORD" }
[evidence]
location = "evidence"
key = { command = ["pass", "evidence"] }
"""


@pytest.fixture
def here(tmp_path):
    """A directory with a devlab, settings, and others that a variable can name."""
    (tmp_path / ".homelab/devlab").mkdir(parents=True)
    for name in ("homelab.toml", ".homelab/devlab/homelab.toml", "other.toml"):
        (tmp_path / name).write_text(LEAST)
    return tmp_path


def test_settings_are_looked_for_in_one_order(here):
    variable = {"HOMELAB_SETTINGS": str(here / "other.toml")}
    assert find(variable, here) == here / "other.toml"
    assert find({}, here) == here / "homelab.toml"
    assert find({"HOMELAB_SETTINGS": ""}, here) == here / "homelab.toml"
    (here / "homelab.toml").unlink()
    assert find({}, here) == here / ".homelab/devlab/homelab.toml"
    (here / ".homelab/devlab/homelab.toml").unlink()
    with pytest.raises(SettingsError, match=f"there is no homelab.toml in {here}"):
        find({}, here)


def test_a_variable_that_points_nowhere_is_no_reason_to_take_others(here):
    with pytest.raises(SettingsError, match="named by HOMELAB_SETTINGS, does not exist"):
        find({"HOMELAB_SETTINGS": str(here / "nowhere.toml")}, here)


def test_by_default_this_process_and_its_directory_are_asked(here, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.delenv("HOMELAB_SETTINGS", raising=False)
    assert find() == here / "homelab.toml"
    monkeypatch.setenv("HOMELAB_SETTINGS", "other.toml")
    assert find() == here / "other.toml"
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("HOMELAB_SETTINGS", "~/other.toml")
    assert find() == here / "other.toml"


def test_paths_are_relative_to_the_settings_and_not_to_where_one_stands(site, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    homelab = site.homelab
    assert homelab.home == site.root / ".homelab"
    assert str(homelab.destinations["default"].place) == str(site.root / "backups")
    assert str(homelab.evidence_place) == str(site.root / "evidence")
    assert list(homelab.policies) == ["app/files"]


def test_the_least_that_must_be_said(tmp_path):
    path = tmp_path / "homelab.toml"
    path.write_text(LEAST)
    found = read(path)
    assert (found.home, found.secrets) == (Path(".homelab"), Path("secrets"))
    assert (found.contributors, found.providers, found.probes, dict(found.notifications)) == ((), (), (), {})


def test_every_fault_is_told_at_once_and_no_value_is_repeated(tmp_path):
    path = tmp_path / "homelab.toml"
    path.write_text('homes = "hunter2"\nproviders = "hunter2"\n[destinations.default]\npassword = "hunter2"\n')
    with pytest.raises(SettingsError) as refused:
        read(path)
    said = str(refused.value)
    for field in ("homes", "providers", "destinations.default.location", "destinations.default.password", "evidence"):
        assert f"{field}: " in said
    assert "hunter2" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match=f"{tmp_path} cannot be read: Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: broken.name)
def test_dagster_is_refused_what_the_command_is_refused(site, broken, monkeypatch):
    """The code location loads the same way; there, an error must say as much."""
    break_it(site, broken)
    monkeypatch.chdir(site.root)
    monkeypatch.delenv("HOMELAB_SETTINGS", raising=False)
    for name, value in broken.env.items():
        monkeypatch.setenv(name, value)
    if broken.name == "no-policies-declared":
        assert not load().policies  # an empty graph is a graph
        return
    with pytest.raises(UsageError) as refused:
        load()
    assert broken.file in refused.value.message
    assert broken.field in refused.value.message or broken.field in refused.value.remedy
    assert broken.remedy in refused.value.remedy
    assert not any(secret in str(refused.value) for secret in SECRETS)


@pytest.mark.parametrize(("patience", "answer"), [(1, 5), (15, 5), (60, 20), (180, 60), (300, 60), (86400, 60)])
def test_patience_reaches_every_place_and_bounds_one_request(site, patience, answer):
    text = (site.root / "homelab.toml").read_text()
    (site.root / "homelab.toml").write_text(text.replace("password = ", f"patience = {patience}\npassword = "))
    place = site.homelab.destinations["default"].place / "restic-app-files"
    assert (place.patience, answer_seconds(place.patience)) == (patience, answer)
    assert place == Directory(site.root / "backups" / "restic-app-files")  # where it is, not how long one waits
