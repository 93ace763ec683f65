"""A bucket staged as files: what is held against the listing, and what is refused by name."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from backup_orchestration.contributors import bucket_export
from backup_orchestration.contributors.bucket_export import _copy_all
from backup_orchestration.core.errors import SourceError
from backup_orchestration.core.places import Bucket
from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.stores.bucket import Reached


class Client:
    """A bucket of these objects; `answers` changes what is answered for a key, `gone` are listed once only."""

    def __init__(self, objects, answers=None, gone=()):
        self.objects, self.answers, self.gone = dict(objects), answers or {}, set(gone)

    def list_objects_v2(self, Bucket, Prefix, Delimiter, ContinuationToken="0"):  # noqa: N803
        if ContinuationToken == "2":
            for key in self.gone:
                self.objects.pop(key, None)
            return {"IsTruncated": False}  # as MinIO ends a listing of a multiple of 1,000 keys
        keys, start = sorted(self.objects), int(ContinuationToken)
        found = keys[:2] if start == 0 else keys[2:]
        items = [{"Key": key, "Size": 0, "ETag": "", "LastModified": None} for key in found]
        return {"Contents": items, "IsTruncated": True, "NextContinuationToken": str(start + 1)}

    def get_object(self, Bucket, Key):  # noqa: N803
        if Key not in self.objects or self.answers.get(Key) == "missing":
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        body = self.objects[Key]
        answer = {
            "ETag": f'"{hashlib.md5(body).hexdigest()}"',
            "ContentLength": len(body),
            "ContentType": "text/x-test",
            "Metadata": {"owner": "lab"},
        }
        answer |= self.answers.get(Key, {})
        sent = answer.pop("sent", body)
        return answer | {"Body": StreamingBody(io.BytesIO(sent), len(sent))}


def copy_all(client, into):
    return _copy_all(reached(client), into)


def reached(client):
    key = SecretRef(name="key")
    return Reached(Bucket("boxes", "", "https://localhost:1", "us-east-1", None, key, key, "boxes"), client)


BOXES = {"lab/debian/1.box": b"box" * 1000, "lab/debian/metadata.json": b"{}", "empty": b"", "ünï+%25 \n": b"odd"}


def test_every_object_comes_with_what_it_is(tmp_path):
    rows = copy_all(Client(BOXES), tmp_path)
    assert {key: (tmp_path / key).read_bytes() for key in BOXES} == BOXES
    assert [row["key"] for row in rows] == sorted(BOXES)
    assert {key: rows[0][key] for key in ("content_type", "metadata", "size")} == {
        "content_type": "text/x-test",
        "metadata": {"owner": "lab"},
        "size": 0,
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"sent": b"bax" * 1000},
        {"sent": b"box" * 999},
        {"ContentLength": 2999},
        {"sent": b"bax" * 1000, "ServerSideEncryption": "AES256"},
    ],
)
def test_other_bytes_than_the_store_says_are_refused(tmp_path, answer):
    with pytest.raises(SourceError, match=r"'lab/debian/1.box' came with other bytes"):
        copy_all(Client(BOXES, {"lab/debian/1.box": answer}), tmp_path)


@pytest.mark.parametrize(
    "answer", [{"ETag": '"0123-2"'}, {"ETag": '"' + 32 * "0" + '"', "ServerSideEncryption": "aws:kms"}]
)
def test_an_etag_that_is_no_md5_is_not_held(tmp_path, answer):
    assert len(copy_all(Client(BOXES, {"lab/debian/1.box": answer}), tmp_path)) == len(BOXES)


@pytest.mark.parametrize("key", ["/lead", "a//b", "trail/", "../up", "a/./b", "x" * 256, "é" * 128, "nul\0"])
def test_a_key_that_cannot_be_a_path_is_named_before_anything_is_copied(tmp_path, key):
    with pytest.raises(SourceError, match=r"cannot be a path .back this bucket up with `minio-mirror`"):
        copy_all(Client({**BOXES, key: b""}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_keys_that_are_one_path_are_refused(tmp_path):
    with pytest.raises(SourceError, match="collides with another one"):
        copy_all(Client({**BOXES, "empty/not": b"x"}), tmp_path)


def test_what_was_deleted_meanwhile_is_left_out(tmp_path):
    rows = copy_all(Client(BOXES, gone=["empty"]), tmp_path)
    assert [row["key"] for row in rows] == sorted(set(BOXES) - {"empty"})


def test_what_is_listed_and_not_there_is_no_deletion(tmp_path):
    with pytest.raises(SourceError, match="'empty' is listed, and the store says that it is not there"):
        copy_all(Client(BOXES, {"empty": "missing"}), tmp_path)


@pytest.mark.parametrize("client", [Client({}), Client({"one": b"1"}, gone=["one"])])
def test_an_emptied_bucket_is_no_export(tmp_path, client):
    with pytest.raises(SourceError, match="holds no object"):
        copy_all(client, tmp_path)


def test_an_error_of_the_store_ends_it_with_one_line(tmp_path, monkeypatch):
    """Without keys nothing is asked; the line names the bucket and no traceback is printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("k")
    with pytest.raises(SystemExit) as ended:
        bucket_export.main(
            ["https://localhost:1", "boxes", "--access-key-file", "key", "--secret-key-file", "missing"],
            standalone_mode=False,
        )
    assert str(ended.value).startswith("s3:https://localhost:1/boxes: boxes.secret_key: ")
    assert not (tmp_path / "objects.json").exists()


def test_the_index_is_written_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("k")
    monkeypatch.setattr(bucket_export, "reach", lambda place, secrets: reached(Client(BOXES)))
    bucket_export.main(
        ["https://localhost:1", "boxes", "--access-key-file", "key", "--secret-key-file", "key"], standalone_mode=False
    )
    index = json.loads((tmp_path / "objects.json").read_text())
    assert {row["key"]: row["size"] for row in index} == {key: len(body) for key, body in BOXES.items()}
