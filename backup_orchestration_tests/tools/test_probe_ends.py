"""How a probe ends: only the data may fail a restore test."""

import pytest

from backup_orchestration.core.errors import TimeIsUpError, ToolMissingError

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

PROBE = """
import os
from backup_orchestration.core.errors import ToolMissingError
from backup_orchestration.probes.base import Finding, ProbeKind

class Odd(ProbeKind):
    name = "odd"
    sources = ("files",)
    def check(self, restored, options):
        {body}
"""
POLICY = (
    'BackupPolicy(target="app/files", source=Files(path=str(HERE / "data")),'
    ' restore_test=RestoreTest(probes=[Probe(name="odd", timeout=0.5)]))'
)


def with_probe(kept, body):
    settings = kept.root / "homelab.toml"
    settings.write_text('probes = ["./odd.py:Odd"]\n' + settings.read_text())
    (kept.root / "odd.py").write_text(PROBE.format(body=body))
    return kept.declare(POLICY)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ('os.mkfifo(restored.root / "pipe"); open(restored.root / "pipe")', TimeIsUpError, "was stopped after"),
        ('raise ToolMissingError("there is no such tool")', ToolMissingError, "there is no such tool"),
    ],
    ids=["waits-for-ever", "no-tool"],
)  # fmt: skip
def test_what_is_not_the_data_s_fault_proves_nothing(kept, body, error, words):
    site = with_probe(kept, body)
    with pytest.raises(error, match=words):
        site.restore_test()
    assert len(site.homelab.evidence().ledger("app/files", "default").records) == 1  # the one from before
    assert site.judge().protection == "fresh"
    assert list((site.root / ".homelab/labs").iterdir()) == []
