"""Odd keys, objects in parts, metadata and tags: through backup, restore test and restore, on real servers.

What a server refuses itself is named in a table, and so is what `mc mirror` and `rclone sync` make of the same bucket.
"""

import os
import subprocess
from dataclasses import replace

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from backup_orchestration.operations.backup import backup
from backup_orchestration.stores.bucket import Reached
from backup_orchestration_tests.conftest import needed
from backup_orchestration_tests.mirrors import ODD, MirrorSite
from backup_orchestration_tests.s3_servers import Server, built, mc_for, rclone_for
from scripts.build_servers import MC

PART = 5 << 20  # the smallest that a server takes, but for the last
WAYS = ("on the server", "through here")
# Without --skip-errors it ends at the key of one space, and has copied nothing.
MC_MIRROR = ("mirror", "--quiet", "--preserve", "--skip-errors")
FIELDS = ("bytes", "content type", "cache control", "disposition", "metadata", "tags", "ETag")
KEYS = (*ODD, "j" * 255 + "/" + "k" * 300, "folder/", "folder/below", "\u00fc", "u\u0308", "%2F", "+", "~!*'()")

# Both keep an object in a file or directory of its key.
IN_FILES = {
    key for key in KEYS if {"", ".", ".."} & set(key.rstrip("/").split("/")) or max(map(len, key.split("/"))) > 255
}
REFUSED = {
    "moto": set(),
    "MinIO": IN_FILES | {"a/b", "a/b/c"},
    "versitygw": IN_FILES | {"a/b", "a/b/c", "\x1b[31mred"},  # the last one it takes, and cannot list
}


def fill(site):
    """All that the server takes of the oddities; returns the keys that it does not."""
    refused = []
    for number, key in enumerate(KEYS):
        body = b"" if key == "empty" or key.endswith("/") else os.urandom(100 + number)
        if not held(site, key, body, number):
            refused.append(key)
    site.put("tagged", b"tags", Tagging="one=1&two=a%20b%2Bc", CacheControl="no-cache", ContentDisposition="inline")
    site.put_parts("parts/even", [PART, PART, 100], ContentType="video/x", Metadata={"m": "1"}, Tagging="t=1")
    site.put_parts("parts/odd", [PART, PART + 5000, 100], ContentType="video/y", Metadata={"m": "2"}, Tagging="t=2")
    site.put_parts("parts/one", [300], ContentType="video/z")
    return refused


def held(site, key, body, number):
    """Whether the server holds a new object under this very key, beside those that it holds."""
    before = site.everything(site.client, site.source) if ".." in key else None
    try:
        site.put(key, body, ContentType=f"application/x-{number}", Metadata={"number": str(number)})
    except (ClientError, BotoCoreError):
        return False
    pages = site.client.get_paginator("list_objects_v2").paginate(Bucket=site.source)
    listed = {item["Key"] for page in pages for item in page.get("Contents", ())}
    if key in listed:
        return True
    site.client.delete_object(Bucket=site.source, Key=key)
    assert before is None or site.everything(site.client, site.source) == before
    return False


@pytest.fixture(scope="session")
def filled(plain_server: Server, tmp_path_factory: pytest.TempPathFactory):
    """A site whose source is filled, what is in it, and what the server refused."""
    site = MirrorSite(tmp_path_factory.mktemp("mirror"), plain_server.endpoint, patience=30)
    refused = fill(site)
    return site, site.everything(site.client, site.source), refused


@pytest.mark.only_servers("moto", "MinIO", "versitygw")
def test_what_a_server_refuses_is_known(filled, plain_server, matrix):
    _, before, refused = filled
    matrix("keys that a server refuses itself", plain_server.name, shown(refused))
    assert set(refused) == REFUSED[plain_server.name]
    assert len(before) == len(KEYS) + 4 - len(refused)


@pytest.mark.only_servers("moto", "MinIO", "versitygw")
@pytest.mark.parametrize("way", WAYS)
def test_everything_comes_back(filled, plain_server, matrix, way):
    site, before, _ = filled
    url = plain_server.endpoint
    site.configure(source_url=url if way == WAYS[0] else url.replace("localhost", "127.0.0.1"), patience=30)
    snapshot = site.backup()
    evidence = site.restore_test(snapshot.key)
    assert evidence.passed, evidence.reason
    assert evidence.counts["objects"] == len(before) == snapshot.counts["objects"]
    into = f"back-{os.urandom(6).hex()}"
    site.client.create_bucket(Bucket=into)
    place = site.homelab.policy("app/files").source.place("x")
    target = Reached(type(place)(**{**vars(place), "bucket": into}), site.client)
    assert site.repository.restore_to_bucket(snapshot, target) == len(before)
    after = site.everything(site.client, into)
    matrix("what a mirror of the same bucket loses", plain_server.name, way, "homelab", *lost(before, after))
    assert after == before


@pytest.mark.only_servers("moto", "MinIO", "versitygw")
@pytest.mark.parametrize("way", WAYS)
def test_the_real_mc_as_the_engine(filled, plain_server, mc, tmp_path, monkeypatch, matrix, way):
    """What it loses is copied by ourselves: the snapshot is whole, and says how much of it mc has copied."""
    site, before, _ = filled
    (tmp_path / "mc").symlink_to(built(MC))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    url = plain_server.endpoint
    other = url if way == WAYS[0] else url.replace("localhost", "127.0.0.1")
    site.configure(source_url=other, patience=30, more=', engine="mc"')
    lines = []
    try:
        snapshot = backup(site.homelab, "app/files", f"mc {way}", lambda update: lines.append(update.message))
    finally:
        site.configure(patience=30)
    after = site.everything(site.store, site.backups, site.prefix(snapshot) + "data/")
    short = {key: found[:-1] for key, found in before.items() if len(key) < 1024}  # ETags differ where parts do
    assert {key: found[:-1] for key, found in after.items()} == short
    evidence = site.restore_test(snapshot.key)
    assert evidence.passed, evidence.reason
    assert evidence.counts["objects"] == len(before)
    assert 0 < snapshot.counts["by_mc"] < len(before)
    (said,) = filter(None, lines)
    matrix("what mc copied of the same bucket, as the engine", plain_server.name, way, said)


@pytest.mark.only_servers("moto", "MinIO", "versitygw")
@pytest.mark.parametrize("tool", ["mc mirror", "rclone sync"])
@pytest.mark.parametrize("way", WAYS)
def test_what_others_lose(filled, plain_server, tmp_path, matrix, way, tool):
    """No claim about them: the table shows it."""
    site, before, _ = filled
    here = plain_server
    there = replace(here, endpoint=here.endpoint.replace("localhost", "127.0.0.1")) if way == WAYS[1] else here
    into = f"other-{os.urandom(6).hex()}"
    site.client.create_bucket(Bucket=into)
    buckets = [f"one/{site.source}/", f"{'one' if there is here else 'two'}/{into}/"]
    if tool == "mc mirror":
        words = [*needed(lambda: mc_for(tmp_path / "mc", one=here, two=there)), *MC_MIRROR, *buckets]
    else:
        argv = needed(lambda: rclone_for(tmp_path / "rclone", one=here, two=there))
        words = [*argv, "sync", "--metadata", *(bucket.replace("/", ":", 1) for bucket in buckets)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(words, env=environment, capture_output=True, timeout=90, check=False)
    after = site.everything(site.client, into)
    assert after, done.stderr  # it ran at all
    said = f"exit code {done.returncode}"
    matrix("what a mirror of the same bucket loses", here.name, way, tool, *lost(before, after, said))


def lost(before, after, said=""):
    """Columns of the table: how much came, what is missing, what is different, what is more."""
    missing = [key for key in before if key not in after]
    changed = {what for key in before.keys() & after.keys() for what in differences(before[key], after[key])}
    more = [key for key in after if key not in before]
    return (
        f"{len(before) - len(missing)} of {len(before)} objects",
        f"missing: {shown(missing)}",
        f"changed: {', '.join(sorted(changed)) or 'nothing'}",
        f"more: {shown(more)}",
        said,
    )


def differences(before, after):
    """What of an object is another now. ETags tell how it was put, not what it is."""
    for field, one, other in zip(FIELDS, before, after, strict=True):
        if one != other and field != "ETag":
            kept = field == "metadata" and one.items() <= other.items()
            yield "metadata added" if kept else field


def shown(keys):
    return " ".join(ascii(key if len(key) < 30 else f"{key[:8]}({len(key)})") for key in sorted(keys)) or "none"
