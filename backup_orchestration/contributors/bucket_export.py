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
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from backup_orchestration.core.errors import HomelabError, SourceError
from backup_orchestration.core.places import Bucket
from backup_orchestration.core.secrets import SecretRef, Secrets
from backup_orchestration.stores.bucket import Reached, reach

_OBJECTS, _INDEX = "objects", "objects.json"
_PARALLEL = 8
_CHUNK_BYTES = 1 << 20
_NAME_BYTES = 255  # of one file name, on all file systems in use
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_MIRROR = "back this bucket up with `minio-mirror`"


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
        rows = _copy_all(reach(place, Secrets(here, here, os.environ, here)), here / _OBJECTS)
    except (HomelabError, OSError) as error:
        sys.exit(f"{place}: {error}")
    (here / _INDEX).write_text(json.dumps(rows, indent=0, sort_keys=True), encoding="utf-8")


def _copy_all(bucket: Reached, into: Path) -> list[dict[str, Any]]:
    """Copy what is listed; an object that was deleted meanwhile is left out, as if it had been before."""
    listed = _keys(bucket)
    for key in listed:
        _require_path(key)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        copied = list(pool.map(lambda key: _copy(bucket, key, into), listed))
    missing = {key for key, row in zip(listed, copied, strict=True) if row is None}
    still = missing.intersection(_keys(bucket)) if missing else missing
    if still:
        raise SourceError(f"{min(still)!r} is listed, and the store says that it is not there", remedy="see its log")
    rows = [row for row in copied if row is not None]
    if not rows:
        raise SourceError("it holds no object", remedy="see whether it was emptied")
    return rows


def _keys(bucket: Reached) -> list[str]:
    try:
        return [item.key for item in bucket.listed("")]
    except KeyError:
        raise SourceError("there is no such bucket", remedy="correct its name") from None


def _require_path(key: str) -> None:
    parts = key.split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > _NAME_BYTES or "\0" in part for part in parts):
        raise SourceError(f"the key {key!r} cannot be a path", remedy=_MIRROR)


def _copy(bucket: Reached, key: str, into: Path) -> dict[str, Any] | None:
    """Copy one object; what it is, or None if it is not there."""
    try:
        answer = bucket.ask(lambda: bucket.client.get_object(Bucket=bucket.place.bucket, Key=key), key)
    except KeyError:
        return None
    path = into / key
    md5 = hashlib.md5(usedforsecurity=False)
    size = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(answer["Body"]) as body, path.open("xb") as file:
            while chunk := bucket.ask(lambda: body.read(_CHUNK_BYTES), key):
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
