"""Objects in a directory: what is there, what is not, and what the file system refuses."""

from __future__ import annotations

import pytest

from backup_orchestration.core.errors import StoreError
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
