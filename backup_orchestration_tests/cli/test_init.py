"""`homelab init`: what it writes loads, explains every field, and never overwrites."""

import os
import re
import stat
import tomllib

import pytest

from backup_orchestration.core.destination import DestinationSettings
from backup_orchestration.core.places import Directory
from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.core.settings import EvidenceSettings, NotificationSettings, Settings
from backup_orchestration.homelab.load import load

SERVICES = """
from backup_orchestration import *
class contributor:
    def policies(self):
        return [BackupPolicy(target="app/files", source=Files(path="/srv/app"))]
"""


@pytest.fixture
def empty(site, tmp_path):
    """The site's directory with nothing in it that `init` writes."""
    (tmp_path / "homelab.toml").unlink()
    for path in (tmp_path / "secrets").iterdir():
        path.unlink()
    (tmp_path / "secrets").rmdir()
    return tmp_path


def test_what_it_wrote_loads(empty, say):
    assert say("init").code == 0
    (empty / "services.py").write_text(SERVICES)
    homelab = load(empty / "homelab.toml", {})
    assert list(homelab.policies) == ["app/files"]
    assert homelab.destinations["default"].place == Directory(empty / "backups")
    assert str(homelab.evidence_place) == str(empty / "backups" / "evidence")
    assert homelab.home == empty / ".homelab"


def test_backups_on_another_disk_with_an_awkward_name(empty, say, tmp_path):
    place = tmp_path / 'disk "two" \\ ü'
    assert say("init", "--backups", str(place)).code == 0
    (empty / "services.py").write_text(SERVICES)
    assert load(empty / "homelab.toml", {}).destinations["default"].place == Directory(place)


def test_secrets_are_private_long_and_not_shown(empty, say):
    old = os.umask(0o000)
    try:
        said = say("init")
    finally:
        os.umask(old)
    secrets = empty / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    found = {path.name: path for path in secrets.iterdir()}
    assert set(found) == {"backup-password", "evidence-key"}
    texts = {path.read_text().strip() for path in found.values()}
    assert len(texts) == 2 and all(len(text) >= 40 for text in texts)
    for path in found.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings = (empty / "homelab.toml").read_text()
    assert not [text for text in texts if text in settings + said.out + said.err]


@pytest.mark.parametrize("name", ["homelab.toml", "secrets/backup-password", "secrets/evidence-key"])
@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_it_never_overwrites(empty, say, name, kind):
    path = empty / name
    path.parent.mkdir(exist_ok=True)
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to("nowhere")
    before = sorted(item for item in empty.rglob("*"))
    said = say("init")
    assert said.code == 2 and f"{path} is there already" in said.err
    assert sorted(item for item in empty.rglob("*")) == before
    assert path.is_symlink() or path.read_text() == "mine"


def test_every_field_stands_in_it(empty, say):
    """The template is the reference that people read: a field that is missing there does not exist for them."""
    say("init")
    text = (empty / "homelab.toml").read_text()
    uncommented = re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE)
    parsed = tomllib.loads(uncommented)
    assert set(parsed) == set(Settings.model_fields)
    assert set(parsed["destinations"]["default"]) == set(DestinationSettings.model_fields)
    assert set(parsed["evidence"]) == set(EvidenceSettings.model_fields)
    assert set(parsed["notifications"]["phone"]) == set(NotificationSettings.model_fields)
    for way in SecretRef.model_fields:
        assert f"{way} = " in text


def test_the_defaults_it_names_are_the_defaults(empty, say):
    say("init")
    text = (empty / "homelab.toml").read_text()
    for field in ("home", "secrets"):
        assert f'# {field} = "{Settings.model_fields[field].default}"' in text
        assert f'Default: "{Settings.model_fields[field].default}"' in text
