"""The window that a restore test restores through: what it hands out, what it checks, what it refuses."""

import errno
import hashlib
import http.client
import io
import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backup_orchestration.core.errors import SpaceError, StoreError
from backup_orchestration.providers import _witness
from backup_orchestration.providers._witness import witness
from backup_orchestration.stores import directory
from backup_orchestration.stores.directory import DirectoryObjects

KINDS = ("data", "index", "keys", "snapshots")
LOCK = f"locks/{'1' * 64}"


@pytest.fixture
def root(tmp_path):
    """A repository's directory with one file of each kind, beside something that is nobody's business."""
    root = tmp_path / "repository"
    (root / "locks").mkdir(parents=True)
    (root / "config").write_bytes(b"configuration")
    (tmp_path / "secret").write_text("secret")
    return root


def put(root, kind, content):
    """A file as restic would name it; returns its name."""
    identity = hashlib.sha256(content).hexdigest()
    path = root / kind / (identity[:2] if kind == "data" else "") / identity
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{kind}/{identity}"


def ask(seen, method, name, body=None, **headers):
    """One request over the Unix socket; returns status, headers and body."""
    connection = http.client.HTTPConnection("witness")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    with closing(connection):
        connection.sock.connect(socket_path(seen))
        connection.request(method, name, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def socket_path(seen):
    return seen.url.removeprefix("rest:http+unix://").removesuffix(":/")


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_handed_out_and_found_whole(root, kind):
    name = put(root, kind, b"0123456789")
    with witness(DirectoryObjects(root)) as seen:
        assert ask(seen, "GET", f"/{name}")[::2] == (200, b"0123456789")
    assert (seen.damaged, seen.bytes_read) == ([], 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_does_not_match_its_name_is_damaged(root, kind):
    name = put(root, kind, b"0123456789")
    with witness(DirectoryObjects(root)) as seen:
        (root / _witness.stored_as(name)).write_bytes(b"0123456780")
        assert ask(seen, "GET", f"/{name}")[0] == 200
    assert seen.damaged == [name]


def test_damage_outside_the_range_that_is_asked_for_is_seen(root):
    """A restore reads the blobs it needs; the header of a pack it never reads."""
    name = put(root, "data", b"x" * 3_000_000)
    with witness(DirectoryObjects(root)) as seen:
        content = bytearray(b"x" * 3_000_000)
        content[-1] = 0
        (root / _witness.stored_as(name)).write_bytes(content)
        status, headers, body = ask(seen, "GET", f"/{name}", Range="bytes=0-9")
        assert (status, body, headers["Content-Length"]) == (206, b"x" * 10, "10")
        assert seen.damaged == [name]
        assert seen.bytes_read == 3_000_000


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=2-5", 206, b"2345"),
        ("bytes=3-", 206, b"3456789"),
        ("bytes=0-9", 206, b"0123456789"),
        ("bytes=9-9", 206, b"9"),
        ("bytes=9-10", 416, b""),
        ("bytes=10-", 416, b""),
        ("bytes=5-2", 416, b""),
        ("bytes=-3", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_ranges(root, asked, status, body):
    name = put(root, "data", b"0123456789")
    with witness(DirectoryObjects(root)) as seen:
        assert ask(seen, "GET", f"/{name}", Range=asked)[::2] == (status, body)
    assert seen.damaged == []


def test_a_missing_file_is_damage(root):
    name = f"data/{'a' * 64}"
    with witness(DirectoryObjects(root)) as seen:
        assert ask(seen, "GET", f"/{name}")[0] == 404
    assert seen.damaged == [name]


def test_a_size_is_told_without_reading(root):
    name = put(root, "data", b"0123456789")
    with witness(DirectoryObjects(root)) as seen:
        status, headers, body = ask(seen, "HEAD", f"/{name}")
        assert (status, headers["Content-Length"], body) == (200, "10", b"")
        assert ask(seen, "HEAD", f"/data/{'a' * 64}")[0] == 404
    assert (seen.damaged, seen.bytes_read) == ([], 0)


def test_lists_hold_names_and_sizes_across_folders(root):
    names = {put(root, "data", bytes(size)).partition("/")[2]: size for size in range(1, 40)}
    with witness(DirectoryObjects(root)) as seen:
        status, headers, body = ask(seen, "GET", "/data/")
        assert ask(seen, "GET", "/locks/")[::2] == (200, b"[]")
        assert ask(seen, "GET", "/index/")[::2] == (200, b"[]")
    assert (status, headers["Content-Type"]) == (200, "application/vnd.x.restic.rest.v2")
    assert {item["name"]: item["size"] for item in json.loads(body)} == names


def test_a_lock_can_be_written_read_and_removed(root):
    with witness(DirectoryObjects(root)) as seen:
        assert ask(seen, "POST", f"/{LOCK}", b"held")[0] == 200
        assert (root / LOCK).read_bytes() == b"held"
        assert ask(seen, "GET", f"/{LOCK}")[::2] == (200, b"held")
        assert ask(seen, "DELETE", f"/{LOCK}")[0] == 200
        assert ask(seen, "DELETE", f"/{LOCK}")[0] == 200
    assert not (root / LOCK).exists()
    assert seen.damaged == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("kind", [*KINDS, "config", "locks/"])
def test_nothing_but_locks_can_be_written(root, method, kind):
    name = kind if kind in ("config", "locks/") else put(root, kind, b"content")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with witness(DirectoryObjects(root)) as seen:
        new = name if kind in ("config", "locks/") else f"{kind}/{'b' * 64}"
        for path in (name, new):
            assert ask(seen, method, f"/{path}", b"other")[0] == 403
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?create=true",
        "/../secret",
        "/data/../../secret",
        "/locks/../../secret",
        "/locks/..%2f..%2fsecret",
        "/%2e%2e/secret",
        f"/locks/../data/{'a' * 64}",
        f"/locks/{'1' * 63}",
        f"/locks/{'1' * 65}",
        f"/locks/{'A' * 64}",
        f"/locks/{'1' * 64}/",
        f"/locks/{'1' * 64}%00",
        f"/data/aa/{'a' * 64}",
        "/locks/new",
        "/config/",
        "/tmp/x",
        "http://elsewhere/config",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_no_other_path_leads_anywhere(root, method, path):
    before = sorted(root.parent.rglob("*"))
    with witness(DirectoryObjects(root)) as seen:
        assert ask(seen, method, path, b"written" if method == "POST" else None)[0] == 400
    assert sorted(root.parent.rglob("*")) == before
    assert (root.parent / "secret").read_text() == "secret"


def test_a_file_is_read_once_and_nobody_is_answered_before(root, monkeypatch):
    name = put(root, "data", b"0123456789")
    (root / name[:5] / name[5:7] / name[5:]).write_bytes(b"damaged")
    reads, go = [], threading.Event()
    read_whole = _witness._read_whole

    def slowly(path, identity):
        reads.append(path)
        assert go.wait(20)
        return read_whole(path, identity)

    monkeypatch.setattr(_witness, "_read_whole", slowly)
    with witness(DirectoryObjects(root)) as seen, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(lambda: (ask(seen, "GET", f"/{name}")[2], list(seen.damaged))) for _ in range(8)]
        while not reads:
            threading.Event().wait(0.01)
        threading.Event().wait(0.2)
        assert not [answer for answer in answers if answer.done()]
        go.set()
        assert [answer.result(20) for answer in answers] == [(b"damaged", [name])] * 8
    assert len(reads) == 1
    assert seen.damaged == [name]


def test_different_files_are_read_at_the_same_time(root, monkeypatch):
    names = [put(root, "data", bytes([number]) * 10) for number in range(4)]
    together = threading.Barrier(4, timeout=20)
    read_whole = _witness._read_whole
    monkeypatch.setattr(_witness, "_read_whole", lambda *given: (together.wait(), read_whole(*given))[1])
    with witness(DirectoryObjects(root)) as seen, ThreadPoolExecutor(4) as pool:
        assert {answer[0] for answer in pool.map(lambda name: ask(seen, "GET", f"/{name}"), names)} == {200}
    assert seen.bytes_read == 40


class Failing(DirectoryObjects):
    """A store that raises this for names of this kind, from the second time it is asked on."""

    def __init__(self, root, error, kinds):
        super().__init__(root)
        self.error, self.kinds, self.asked = error, kinds, 0

    def open(self, name):
        if name.startswith(self.kinds):
            self.asked += 1
            raise self.error
        return super().open(name)


@pytest.mark.parametrize(
    "error", [StoreError("s3: it does not answer"), PermissionError(13, "Permission denied"), ValueError("a defect")]
)
def test_a_store_that_fails_is_no_damage_and_is_not_asked_again(root, error):
    names = [put(root, "data", content) for content in (b"one", b"two")]
    store = Failing(root, error, "data/")
    with witness(store, called="the place") as seen:
        assert [ask(seen, "GET", f"/{name}")[0] for name in names] == [403, 403]
        assert ask(seen, "GET", "/config")[0] == 403
        assert ask(seen, "POST", f"/{LOCK}", b"held")[0] == 403
    assert (seen.damaged, seen.missing, store.asked) == ([], [], 1)
    assert isinstance(seen.fault, StoreError)
    assert str(error.args[-1]) in str(seen.fault)


@pytest.mark.parametrize("how", ["gone", "another"])
def test_a_file_that_is_missing_since_its_repository_went_away_is_no_damage(root, how):
    """An unmounted disk takes all files along; in its place there may be the repository of another one."""
    with witness(DirectoryObjects(root), called="the place") as seen:
        (root / "config").unlink()
        if how == "another":
            (root / "config").write_bytes(b"of another one")
        assert ask(seen, "GET", f"/data/{'a' * 64}")[0] == 403
    assert seen.damaged == []
    assert "the place went away while it was read" in str(seen.fault)


def test_a_file_that_could_not_be_read_at_first_is_judged_when_it_can(root, monkeypatch):
    """It must not pass unseen because somebody asked for it before."""
    name = put(root, "data", b"0123456789")
    (root / _witness.stored_as(name)).write_bytes(b"damaged")
    read_whole = _witness._read_whole

    def once(*arguments):
        monkeypatch.setattr(_witness, "_read_whole", read_whole)
        raise ConnectionResetError

    monkeypatch.setattr(_witness, "_read_whole", once)
    with witness(DirectoryObjects(root)) as seen:
        with pytest.raises(http.client.HTTPException):
            ask(seen, "GET", f"/{name}")
        assert ask(seen, "GET", f"/{name}")[0] == 200
    assert seen.damaged == [name]


def test_nothing_is_left_after_the_block(root):
    threads = set(threading.enumerate())
    with witness(DirectoryObjects(root)) as seen:
        private = Path(socket_path(seen)).parent
        assert private.stat().st_mode & 0o777 == 0o700
        ask(seen, "GET", "/config")
    assert not private.exists()
    with pytest.raises(RuntimeError), witness(DirectoryObjects(root)) as seen:
        raise RuntimeError
    assert not Path(socket_path(seen)).parent.exists()
    assert not [thread for thread in set(threading.enumerate()) - threads if "serve_forever" in thread.name]


def test_a_connection_that_is_cut_off_harms_nobody(root, capfd):
    name = put(root, "data", b"x" * 8_000_000)
    with witness(DirectoryObjects(root)) as seen:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as cut:
                cut.connect(socket_path(seen))
                cut.sendall(f"GET /{name} HTTP/1.1\r\nHost: w\r\n\r\n".encode())
                cut.recv(10)
        assert ask(seen, "GET", f"/{name}", Range="bytes=0-1")[2] == b"xx"
    assert capfd.readouterr() == ("", "")


class Bucket(DirectoryObjects):
    """Hands out what is no file of this host, as a bucket does."""

    @contextmanager
    def open(self, name):
        with super().open(name) as file:
            yield io.BytesIO(file.read())


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room_to_keep_a_file_of_a_bucket_is_no_damage(root, tmp_path, monkeypatch):
    name = put(root, "data", b"0123456789")
    monkeypatch.setattr(_witness.shutil, "copyfileobj", full)
    with witness(Bucket(root), tmp_path) as seen:
        assert ask(seen, "GET", f"/{name}")[0] == 403
        assert seen.damaged == []
        assert isinstance(seen.fault, SpaceError) and f"{tmp_path}/" in str(seen.fault)
        monkeypatch.undo()
        assert ask(seen, "GET", f"/{name}")[0] == 403  # and not what came before the disk was full


def test_a_lock_that_the_store_does_not_take_is_refused_for_good(root, monkeypatch):
    """restic asks again for a quarter of an hour after most other answers."""
    monkeypatch.setattr(directory, "write_atomically", full)
    with witness(DirectoryObjects(root)) as seen:
        assert ask(seen, "POST", f"/{LOCK}", b"lock")[0] == 403
        assert isinstance(seen.fault, StoreError) and "No space left on device" in str(seen.fault)


def test_all_of_it_lies_in_the_place_it_was_given_however_long_its_name(root, tmp_path):
    name, place = put(root, "data", b"0123456789"), tmp_path / ("long" * 50)
    place.mkdir()
    with witness(Bucket(root), place) as seen:
        assert ask(seen, "GET", f"/{name}")[2] == b"0123456789"
        assert {path.name for path in place.rglob("*") if not path.is_dir()} == {"s", name.replace("/", "-")}
    assert list(place.iterdir()) == []
