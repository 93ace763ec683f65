"""A bucket of a real S3 server over TLS, staged as files by the program that an `Export` runs."""

import sys
from dataclasses import replace

import pytest

from backup_orchestration.core.commands import Command, run
from backup_orchestration.core.secrets import Secrets
from backup_orchestration.stores.open import open_store

pytestmark = pytest.mark.tools


def stage(into, place):
    module = "backup_orchestration.contributors.bucket_export"
    keys = ("--access-key-file", str(place.access_key.file), "--secret-key-file", str(place.secret_key.file))
    argv = [sys.executable, "-m", module, place.endpoint, place.bucket, *keys, "--ca", str(place.ca)]
    into.mkdir()
    return run(Command(argv, 60, cwd=into))


def test_every_object_of_a_bucket_is_staged_and_an_emptied_one_fails(tmp_path, s3_store):
    root = s3_store.ca.parent / "objects"
    for name in ("boxes", "emptied"):
        (root / name).mkdir()
    objects = {"lab/debian/1.0/virtualbox.box": bytes(range(256)) * 9000, "lab/metadata (é).json": b"{}", "empty": b""}
    store = open_store(replace(s3_store, bucket="boxes", prefix=""), Secrets(tmp_path, tmp_path, {}, tmp_path))
    for key, content in objects.items():
        store.write(key, content)
    done = stage(tmp_path / "staged", replace(s3_store, bucket="boxes"))
    assert done.returncode == 0, done.stderr
    staged = tmp_path / "staged" / "objects"
    assert {str(path.relative_to(staged)): path.read_bytes() for path in staged.rglob("*") if path.is_file()} == objects
    emptied = stage(tmp_path / "emptied", replace(s3_store, bucket="emptied"))
    assert emptied.returncode == 1 and "emptied: it holds no object (see whether it was emptied)" in emptied.stderr
    missing = stage(tmp_path / "missing", replace(s3_store, bucket="missing"))
    assert missing.returncode == 1 and "there is no such bucket" in missing.stderr
