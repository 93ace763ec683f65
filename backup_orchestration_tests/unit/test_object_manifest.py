"""What the bytes of objects are held against, and the probe that compares what came back."""

import gzip
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backup_orchestration.core import object_manifest
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.object_manifest import Digest, Entry, file_of
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Bucket
from backup_orchestration.probes.base import Restored
from backup_orchestration.probes.objects import ObjectsOptions, ObjectsProbe

BODY = bytes(range(256)) * 10
NOW = datetime(2026, 11, 25, 4, tzinfo=UTC)


def md5(data):
    return hashlib.md5(data).digest()


def parts(*sizes):
    """The digest of BODY, put in parts of these sizes."""
    start, digests = 0, b""
    for size in sizes:
        digests += md5(BODY[start : start + size])
        start += size
    return f"{md5(digests).hex()}-{len(sizes)}"


DIGESTS = [
    f"sha256:{hashlib.sha256(BODY).hexdigest()}",
    f"md5:{md5(BODY).hex()}",
    f"parts:1000:{parts(1000, 1000, 560)}",
    f"parts:1280:{parts(1280, 1280)}",
    f"parts:100,2000,460:{parts(100, 2000, 460)}",
    f"parts:2560:{parts(2560)}",
]


@pytest.mark.parametrize("chunk", [1, 7, 1000, 5000])
@pytest.mark.parametrize("text", DIGESTS)
def test_bytes_are_held_against_a_digest(text, chunk):
    for body, fits in ((BODY, True), (BODY[:-1], False), (BODY + b"x", False), (BODY[:99] + b"x" + BODY[100:], False)):
        digest = Digest(text)
        for start in range(0, len(body), chunk):
            digest.update(body[start : start + chunk])
        assert digest.matches() is fits


@pytest.mark.parametrize("text", ["", "sha1:00", "parts:0:00-1", "parts:-5:00-1", "parts::00-1", "parts:x:00-1"])
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(ValueError):
        Digest(text)


@pytest.mark.parametrize("text", ["", '{"key": "a"}', "[]", "x"])
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "manifest"
    path.write_bytes(gzip.compress(f"{text}\n".encode()) if text else gzip.compress(b"much" * 1000)[:-20])
    with pytest.raises(ValueError):
        list(object_manifest.read(path))


def entry(number):
    key = f"\x1b[31m{number:03}\n"
    digest = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return Entry(key, f"data/{key}", len(key), digest, "e", "e", {"ContentType": "a/b"}, {"m": "1"}, {"t": "1"})


@pytest.fixture
def restored(tmp_path):
    """Forty objects that came back as they were."""
    entries = [entry(number) for number in range(40)]
    for item in entries:
        path = file_of(tmp_path, item.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.key.encode())
    for name in (object_manifest.FILENAME, object_manifest.CAME_BACK):
        object_manifest.write(tmp_path / name, [item.line() for item in entries])
    source = Bucket(
        endpoint="https://x", bucket="registry", access_key=SecretRef(name="a"), secret_key=SecretRef(name="b")
    )
    size = sum(item.size for item in entries)
    snapshot = Snapshot("a/b", "minio-mirror", "r", "i", "s", NOW, size, {"objects": 40, "bytes": size})
    return Restored(tmp_path, BackupPolicy(target="a/b", source=source), snapshot, NOW)


def check(restored, **options):
    return ObjectsProbe().check(restored, ObjectsOptions(**options))


def test_all_that_came_back_is_read(restored):
    found = check(restored)
    assert found.counts["objects"] == found.counts["objects_read"] == 40
    assert "sampled" not in found.summary


def test_a_share_is_read_and_in_as_many_days_all_is(restored):
    read = []
    for day in range(4):
        found = check(replace(restored, started_at=NOW + timedelta(days=day)), share=0.25)
        assert found.summary.startswith("sampled: 40 objects")
        read.append(found.counts["objects_read"])
    assert sum(read) == 40
    assert all(read)


def came_back(restored, change):
    entries = [change(entry(number)) for number in range(40)]
    object_manifest.write(restored.root / object_manifest.CAME_BACK, [item.line() for item in entries if item])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda item: replace(item, headers={}), "has other headers: 'ContentType'"),
        (lambda item: replace(item, metadata={"m": "1", "n": "2"}), "has other metadata: 'n'"),
        (lambda item: replace(item, tags={"t": "2"}), "has other tags: 't'"),
        (lambda item: None if "007" in item.key else item, "stands in one list only"),
    ],
)
def test_what_came_back_otherwise_is_refused(restored, change, says):
    came_back(restored, change)
    with pytest.raises(ProbeFailedError, match=says) as error:
        check(restored)
    assert error.value.message.isprintable()


@pytest.mark.parametrize(("body", "says"), [(None, "is missing"), (b"", "0 bytes"), (b"\x1b[31m007x", "other bytes")])
def test_bytes_that_are_not_those_are_refused(restored, body, says):
    path = file_of(restored.root, entry(7).key)
    path.unlink() if body is None else path.write_bytes(body)
    with pytest.raises(ProbeFailedError, match=says):
        check(restored)


def test_fewer_than_were_counted_are_refused(restored):
    counted = replace(restored.snapshot, counts={"objects": 41, "bytes": 0})
    with pytest.raises(ProbeFailedError, match="40 objects in the manifest, 41 were counted"):
        check(replace(restored, snapshot=counted))
    with pytest.raises(ProbeFailedError, match="at least 50"):
        check(restored, min_objects=50)
