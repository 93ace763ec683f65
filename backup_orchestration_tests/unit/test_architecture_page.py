"""ARCHITECTURE.md: its examples work as they stand, and what it points to is there."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "ARCHITECTURE.md"
SETTINGS = """\
contributors = ["./services.py"]
providers = ["./copies.py"]
probes = ["./probes.py"]
[destinations.default]
location = "backups"
password = { file = "secrets/password" }
[evidence]
location = "evidence"
key = { file = "secrets/evidence-key" }
"""
WIKI = "wiki/pages"


@pytest.fixture
def wiki(site):
    """A site of the page's own service, probe and provider; nothing of it needs a tool."""
    for name, code in re.findall(
        r"```python\n# (\w+\.py):[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    ):
        (site.root / name).write_text(code, encoding="utf-8")
    (site.root / "homelab.toml").write_text(SETTINGS)
    (site.root / "pages").mkdir()
    (site.root / "pages" / "home.md").write_text("# home\n")
    return site


def test_the_examples_back_up_and_prove_together(wiki):
    taken = wiki.backup(WIKI)
    evidence = wiki.restore_test(WIKI)
    assert evidence.passed, evidence.reason
    assert [item.name for item in evidence.probes] == ["restore", "files", "size"]
    found = wiki.judge(WIKI)
    assert (found.protection, found.recovery_point) == ("fresh", taken)


def test_the_example_provider_gives_back_damage_for_the_probes_to_find(wiki):
    wiki.backup(WIKI)
    (copy,) = (wiki.root / "backups").rglob("home.md")
    before = copy.stat()
    copy.write_text("# hell\n")
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a disk does it
    evidence = wiki.restore_test(WIKI)
    assert not evidence.passed
    assert re.match(r"files: .*/pages/home\.md has ", evidence.reason)


def test_the_example_probe_holds_its_floor(wiki):
    services = wiki.root / "services.py"
    services.write_text(services.read_text().replace('"min_bytes": 5', '"min_bytes": 5000'))
    wiki.backup(WIKI)
    assert re.fullmatch(r"size: [\d,]+ bytes came back, at least 5,000 are expected", wiki.restore_test(WIKI).reason)


def test_every_function_the_page_walks_through_is_there():
    rows = re.findall(r"^\| `(\w+/\w+\.py)` \| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 20
    package = CHECKOUT / "backup_orchestration"
    missing = [(path, name) for path, name in rows if name not in defined_in(package / path)]
    assert missing == []


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_page_is_reached_by_links_that_lead_somewhere():
    pages = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]
    broken = []
    for page in [*pages, CHECKOUT / "docker" / "README.md"]:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not leads_somewhere(page, link):
                broken.append(f"{page.relative_to(CHECKOUT)}: {link}")
    assert broken == []


def leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"https?://", link):
        return True
    path, _, anchor = link.partition("#")
    to = page.parent / path if path else page
    if not to.exists():
        return False
    return not anchor or anchor in anchors(to)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
