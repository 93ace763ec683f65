"""One lab for all tests of the page, the page in a real browser, and a webhook that hears the lab's alerts."""

from __future__ import annotations

import json
import os

import pytest
from labs import POLICY, Lab, until
from page import CHROMIUM, DRIVER, Page, opened
from webhook import listening

from backup_orchestration.devlab import templates
from backup_orchestration.devlab.paths import devlab_of


@pytest.fixture(scope="session", name="until")
def _until():
    return until


@pytest.fixture(scope="session")
def lab(tmp_path_factory, restic):
    root = tmp_path_factory.mktemp("ui")
    paths = devlab_of(root)
    paths.home.mkdir(parents=True, mode=0o700)
    (paths.home / ".homelab-devlab").touch()
    templates.write(paths, {"store": 1, "objects": 1, "services": 1})
    with listening() as webhook:
        (paths.home / "secrets").mkdir(mode=0o700)
        (paths.home / "secrets" / "webhook").write_text(webhook.url)
        settings = paths.settings.read_text().replace("contributors = [", 'contributors = ["./app.py", ')
        notifications = '[notifications.test]\nurl = { file = "secrets/webhook" }\n'
        paths.settings.write_text(f"{settings}{notifications}")
        (paths.home / "app.py").write_text(POLICY)
        (paths.home / "data").mkdir()
        (paths.home / "data" / "one.txt").write_text("one\n")
        found = Lab(paths, "", webhook)
        try:
            found.cli("devlab", "up")
            found.url = json.loads(found.cli("devlab", "status", "--json"))["ui_url"]
            found.stop_schedules()
            yield found
        finally:
            found.cli("devlab", "down", "--purge")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if not (CHROMIUM.exists() and DRIVER.exists()):
        if os.environ.get("REQUIRE_TOOLS") == "1":
            raise AssertionError(f"{CHROMIUM} and {DRIVER} are needed: apt-get install chromium chromium-driver")
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(lab, browser, tmp_path):
    return Page(browser, lab.url, tmp_path)
