"""Installations with a real restic repository, made once and copied."""

import shutil

import pytest


@pytest.fixture(scope="session")
def template(tmp_path_factory, new_site, start_repository):
    """A site with one snapshot of `app/files` and the evidence that it passed."""
    site = start_repository(new_site(tmp_path_factory.mktemp("template")), "app/files")
    site.backup()
    assert site.restore_test().passed
    return site


@pytest.fixture
def kept(template, tmp_path):
    """A copy of it: something to lose."""
    for name in ("backups", "data", "evidence", "secrets"):
        shutil.copytree(template.root / name, tmp_path / name, symlinks=True)
    for name in ("homelab.toml", "services.py"):
        shutil.copy2(template.root / name, tmp_path / name)
    return type(template)(tmp_path)
