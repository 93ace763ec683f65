"""What is refused before a backup touches anything, and what a repository that is not the same is taken for."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from backup_orchestration.core.errors import (
    RepositoryMissingError,
    RepositoryVanishedError,
    SourceError,
    UnknownSnapshotError,
    WrongPasswordError,
)
from backup_orchestration.providers import _cluster

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]


def test_a_cluster_that_archives_elsewhere_is_told_which_lines_to_write(pg_copy):
    site, _, _ = pg_copy
    site.cluster.archive_with({"archive_command": "cp %p /somewhere/%f"})
    with pytest.raises(SourceError) as refused:
        site.backup()
    assert "archive_command is 'cp %p /somewhere/%f'" in refused.value.message
    config = site.around.state / "pgbackrest.conf"
    assert f"--config={config} --stanza=shop-db archive-push %p'" in refused.value.remedy
    assert "archive_mode = 'on'" in refused.value.remedy
    # The lines that it names are those that work.
    line = refused.value.remedy.partition("archive_command = '")[2].rstrip("'")
    site.cluster.archive_with({"archive_command": line.replace("''", "'")})
    assert site.backup().key[-1] == "I"


def test_the_policy_must_name_the_cluster_that_answers(pg_copy, tmp_path):
    site, _, _ = pg_copy
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / "PG_VERSION").write_text("15\n")
    with pytest.raises(SourceError, match=f"serves {site.cluster.data}, not {other}"):
        replace(site, source={"data": other}).backup()
    with pytest.raises(SourceError, match="cannot be reached: No such file"):
        replace(site, source={"data": tmp_path / "none"}).backup()


def test_a_repository_of_another_cluster_is_refused(pg_copy, monkeypatch):
    site, _, incremental = pg_copy
    site.archive()
    examine = _cluster.examine
    monkeypatch.setattr(_cluster, "examine", lambda *given: replace(examine(*given), system_id="7"))
    with pytest.raises(SourceError, match=r"belongs to the cluster .*stanza-upgrade"):
        site.backup(create=False)
    assert site.repository.latest().key == incremental.key


def test_a_vanished_repository_is_not_made_anew_but_by_a_word(pg_copy):
    site, full, _ = pg_copy
    site.archive()
    shutil.rmtree(site.files)
    with pytest.raises(RepositoryMissingError):
        site.repository.snapshots()
    with pytest.raises(RepositoryVanishedError, match="--new-repository"):
        site.backup(create=False)
    assert not site.files.exists()
    made_anew = site.backup(create=True)
    assert made_anew.repository_id != full.repository_id
    with pytest.raises(UnknownSnapshotError, match="is no longer in"):
        site.restore(full)


def test_a_wrong_password_is_no_reason_to_make_a_repository(pg_copy):
    site, _, _ = pg_copy
    site.archive()
    before = sorted(site.files.rglob("*"))
    (site.root / "password").write_text("another\n")
    for call in (site.repository.snapshots, site.backup):
        with pytest.raises(WrongPasswordError):
            call()
    # The server archived meanwhile, or tried to: what was there is still there.
    assert set(before) <= set(site.files.rglob("*"))
