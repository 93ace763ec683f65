"""Objects in a directory: what is there, what is not, and what the file system refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backup_orchestration.core.errors import StoreError
from backup_orchestration.core.places import Bucket
from backup_orchestration.core.secrets import SecretRef, Secrets
from backup_orchestration.stores.bucket import s3_client
from backup_orchestration.stores.directory import DirectoryObjects


@pytest.fixture
def objects(tmp_path):
    return DirectoryObjects(tmp_path / "store")


def test_what_was_written_is_listed_and_read(objects):
    objects.write("app/files/default/2", b"two")
    objects.write("app/files/default/1", b"one")
    objects.write("app/files/other/3", b"three")
    assert list(objects.names("app/files/default")) == ["app/files/default/1", "app/files/default/2"]
    assert [objects.read(name) for name in objects.names("app/files/default")] == [b"one", b"two"]


def test_nothing_is_listed_where_nothing_is(objects):
    assert list(objects.names("app/files/default")) == []
    with pytest.raises(KeyError):
        objects.read("app/files/default/1")


def test_folders_and_files_that_a_crash_left_are_no_objects(objects, tmp_path):
    objects.write("app/1", b"one")
    (tmp_path / "store/app/.1.0a0b0c0d").write_bytes(b"half")
    (tmp_path / "store/app/2").mkdir()
    assert list(objects.names("app")) == ["app/1"]


def test_a_refusal_names_the_place_and_a_remedy(objects, tmp_path):
    (tmp_path / "store").write_text("a file where the store should be")
    attempts = [lambda: objects.names("app"), lambda: objects.read("app/1"), lambda: objects.write("app/1", b"")]
    for attempt in attempts:
        with pytest.raises(StoreError, match=r"store/app.*(Not a directory|File exists)") as refused:
            attempt()
        assert "free space" in refused.value.remedy


def test_a_client_is_shared_by_all_places_of_an_endpoint_and_by_no_other_process(tmp_path, monkeypatch):
    """Two processes that write to one connection would read each other's answers."""
    for name in ("access-key", "secret-key"):
        (tmp_path / name).write_text(f"the {name}")
    refs = {"access_key": SecretRef(file=Path("access-key")), "secret_key": SecretRef(file=Path("secret-key"))}
    place = Bucket("backups", "", "http://127.0.0.1:9", "us-east-1", None, name="destinations.default", **refs)
    secrets = Secrets(tmp_path, tmp_path, {}, tmp_path)
    first = s3_client(place, secrets)
    assert s3_client(place / "restic-app-files", secrets) is first
    assert s3_client(replace(place, endpoint="http://127.0.0.1:10"), secrets) is not first
    monkeypatch.setattr("os.getpid", lambda: 4711)
    assert s3_client(place, secrets) is not first
    monkeypatch.undo()
    (tmp_path / "secret-key").write_text("another one")
    assert s3_client(place, secrets) is not first
