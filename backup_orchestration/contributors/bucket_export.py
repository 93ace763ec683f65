"""Copies a bucket into the working directory: objects as files below `objects/`, and what they are in `objects.json`.

Run by an `Export` source as a process of its own. Each object is held against the length and the ETag that came with
it, where the ETag is an MD5. A key that cannot be a path is refused by name: such a bucket wants `minio-mirror`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from backup_orchestration.core.errors import HomelabError, SourceError
from backup_orchestration.core.places import Bucket
from backup_orchestration.core.secrets import SecretRef, Secrets
from backup_orchestration.stores.bucket import s3_client

_OBJECTS, _INDEX = "objects", "objects.json"
_PARALLEL = 8
_CHUNK_BYTES = 1 << 20
_NAME_BYTES = 255  # of one file name, on all file systems in use
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_MIRROR = "back this bucket up with `minio-mirror`"
_GONE = ("NoSuchKey", "404", "NotFound")


@click.command()
@click.argument("endpoint")
@click.argument("bucket")
@click.option("--access-key-file", type=click.Path(path_type=Path), required=True, help="File with the access key.")
@click.option("--secret-key-file", type=click.Path(path_type=Path), required=True, help="File with the secret key.")
@click.option("--ca", type=click.Path(path_type=Path), help="Certificates that the endpoint's is checked by.")
@click.option("--region", default="us-east-1", show_default=True)
def main(
    endpoint: str, bucket: str, access_key_file: Path, secret_key_file: Path, ca: Path | None, region: str
) -> None:
    """Copy all objects of BUCKET at ENDPOINT into the working directory."""
    here = Path.cwd()
    access_key, secret_key = SecretRef(file=access_key_file), SecretRef(file=secret_key_file)
    place = Bucket(bucket, "", endpoint, region, ca, access_key, secret_key, bucket)
    try:
        client = s3_client(place, Secrets(here, here, os.environ, here))
        rows = _copy_all(client, bucket, here / _OBJECTS)
    except (BotoCoreError, ClientError, HomelabError, OSError) as error:
        sys.exit(f"{place}: {error}")
    (here / _INDEX).write_text(json.dumps(rows, indent=0, sort_keys=True), encoding="utf-8")


def _copy_all(client: Any, bucket: str, into: Path) -> list[dict[str, Any]]:
    """Copy what is listed; an object that was deleted meanwhile is left out, as if it had been before."""
    listed = list(_listed(client, bucket))
    for key in listed:
        _require_path(key)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        copied = list(pool.map(lambda key: _copy(client, bucket, key, into), listed))
    missing = [key for key, row in zip(listed, copied, strict=True) if row is None]
    still = set(missing) & set(_listed(client, bucket)) if missing else set()
    if still:
        raise SourceError(f"{min(still)!r} is listed, and the store says that it is not there", remedy="see its log")
    rows = [row for row in copied if row is not None]
    if not rows:
        raise SourceError("it holds no object", remedy="see whether it was emptied")
    return rows


def _listed(client: Any, bucket: str) -> Iterator[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from (item["Key"] for item in page.get("Contents", ()))


def _require_path(key: str) -> None:
    parts = key.split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > _NAME_BYTES or "\0" in part for part in parts):
        raise SourceError(f"the key {key!r} cannot be a path", remedy=_MIRROR)


def _copy(client: Any, bucket: str, key: str, into: Path) -> dict[str, Any] | None:
    """Copy one object; what it is, or None if it is not there."""
    try:
        answer = client.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if str(error.response.get("Error", {}).get("Code")) in _GONE:
            return None
        raise
    path = into / key
    md5 = hashlib.md5(usedforsecurity=False)
    size = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                file.write(chunk)
                md5.update(chunk)
                size += len(chunk)
    except (FileExistsError, NotADirectoryError) as error:
        raise SourceError(f"the key {key!r} collides with another one as a path", remedy=_MIRROR) from error
    tag = _MD5.fullmatch(answer["ETag"])
    encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
    if size != answer["ContentLength"] or (tag and not encrypted and tag[1] != md5.hexdigest()):
        raise SourceError(f"{key!r} came with other bytes than its length and ETag say", remedy="run it again")
    return {
        "key": key,
        "size": size,
        "md5": md5.hexdigest(),
        "etag": answer["ETag"].strip('"'),
        "content_type": answer.get("ContentType", ""),
        "metadata": answer.get("Metadata", {}),
    }


if __name__ == "__main__":
    main()
