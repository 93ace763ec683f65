"""How the probes of one restore test are run."""

from __future__ import annotations

import pytest
from fakes import make_fake, policy

from backup_orchestration.core.errors import LabError, SecretError, ToolMissingError

PROBES = """\
from backup_orchestration.core import errors
from backup_orchestration.core.frozen import Frozen
from backup_orchestration.probes.base import Finding, ProbeKind

class Options(Frozen):
    error: str = ""

class Look(ProbeKind[Options]):
    name, sources, options = "look", ("files",), Options
    def check(self, restored, options):
        if options.error:
            raise getattr(errors, options.error)("not the data's fault")
        return Finding((restored.root / "log").read_text() if (restored.root / "log").exists() else "untouched")

class Write(Look):
    name, changes_data = "write", True
    def check(self, restored, options):
        (restored.root / "log").write_text("written")
        return Finding("wrote")

class Second(Write):
    name = "second"
"""


@pytest.fixture
def probed(site):
    """A site whose target has these probes."""

    def make(*probes):
        make_fake(site, policy(restore_test={"probes": list(probes)}))
        names = ", ".join(f'"./looks.py:{name}"' for name in ("Look", "Write", "Second"))
        (site.root / "looks.py").write_text(PROBES)
        settings = site.root / "homelab.toml"
        settings.write_text(f"probes = [{names}]\n{settings.read_text()}")
        site.backup()
        return site

    return make


def test_probes_that_change_the_data_go_last(probed):
    evidence = probed("write", "second", "look").restore_test()
    assert evidence.passed, evidence.reason
    assert [item.name for item in evidence.probes] == ["restore", "files", "look", "write", "second"]
    assert evidence.probes[2].summary == "untouched"


@pytest.mark.parametrize("error", [LabError, SecretError, ToolMissingError])
def test_a_probe_that_could_not_be_carried_out_leaves_no_evidence(probed, error):
    site = probed({"name": "look", "options": {"error": error.__name__}})
    with pytest.raises(error):
        site.restore_test()
    assert site.judge().last_test is None
    assert list((site.root / ".homelab" / "labs").iterdir()) == []
