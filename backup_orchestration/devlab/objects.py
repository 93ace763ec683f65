"""The lab's object store for its services: six buckets of an `rclone serve s3`, written all the while.

A stand-in for MinIO, which was archived in 2026; to who speaks S3 it is a store like any other. Objects are plain
files. It keeps no metadata when it is started anew and guesses content types by the names, so what is written here has
no metadata, and the content type that it would guess. Keys are as odd as it can hold: no empty segment, no slash at an
end, no `a` beside `a/b`.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

from backup_orchestration.core.places import Bucket
from backup_orchestration.core.secrets import SecretRef, Secrets
from backup_orchestration.devlab.paths import DevlabPaths
from backup_orchestration.stores.open import open_store

ACCESS_KEY, SECRET_KEY, CA = "objects-access-key", "objects-secret-key", "store-ca.pem"
BUCKETS = ("gitlab-artifacts", "gitlab-lfs", "gitlab-uploads", "nuget-packages", "registry", "vagrant-boxes")

# é stands there twice: as one code point, and as e with an accent behind it.
_ODD = (
    *("a b+c.txt", "100%25 sure.txt", "50%.txt", "what?&so#on=.txt", "\u00e9.txt", "e\u0301.txt"),
    *(
        "日本/語 (1).txt",
        "😀.txt",
        "tab\there.txt",
        "two\nlines.txt",
        "back\\slash.txt",
        "quo'te\".txt",
        "<a>:b|*;~.txt",
    ),
    *(".hidden", "..x/dot.", "trailing ", f"{'long' * 50}/{'key' * 60}", "empty.txt"),
)
_KEPT = 40


def seed(directory: Path) -> None:
    """Write the buckets and their first objects, as the store keeps them."""
    for bucket in BUCKETS:
        (directory / bucket).mkdir()
        for number in range(5):
            _write(directory / bucket / _key(bucket, number), os.urandom(2048 + 512 * number))
    for name in _ODD:
        _write(directory / "gitlab-uploads" / "@hashed/4b/22" / name, b"" if "empty" in name else name.encode())
    _write(directory / "gitlab-lfs" / _key("gitlab-lfs", 99), os.urandom(256 * 1024))


class Writer:
    """Puts objects over S3; after some it writes the first ones anew.

    Args:
        paths: of the lab.
        port: of the store.
    """

    def __init__(self, paths: DevlabPaths, port: int) -> None:
        secrets = Secrets(paths.home, paths.secrets, {}, paths.run)
        self._stores = {bucket: open_store(_place(paths, bucket, port), secrets) for bucket in BUCKETS}
        self._number = 0

    def put(self) -> None:
        """Put one object.

        Raises:
            StoreError: the store does not answer, or refuses it.
        """
        bucket = BUCKETS[self._number % len(BUCKETS)]
        key = _key(bucket, 100 + self._number % _KEPT)
        self._stores[bucket].write(key, random.randbytes(random.randrange(4096)))  # noqa: S311 - no secret
        self._number += 1


def _place(paths: DevlabPaths, bucket: str, port: int) -> Bucket:
    access_key, secret_key = (SecretRef(name=name) for name in (ACCESS_KEY, SECRET_KEY))
    endpoint = f"https://localhost:{port}"
    return Bucket(bucket, "", endpoint, "us-east-1", paths.home / CA, access_key, secret_key, bucket, patience=15)


def _key(bucket: str, number: int) -> str:
    """Keys as these services write them."""
    digest = hashlib.sha256(f"{bucket} {number}".encode()).hexdigest()
    makers: dict[str, Callable[[], str]] = {
        "gitlab-artifacts": lambda: f"{digest[:2]}/{digest[2:4]}/{digest}/2026_11_25/{number}/{number}/artifacts.zip",
        "gitlab-lfs": lambda: f"{digest[:2]}/{digest[2:4]}/{digest[4:]}",
        "gitlab-uploads": lambda: (
            f"@hashed/{digest[:2]}/{digest[2:4]}/{digest[:32]}/Bildschirmfoto {number} (größer).png"
        ),
        "nuget-packages": lambda: f"lab.core/1.0.{number}+build.5/lab.core.1.0.{number}+build.5.zip",
        "registry": lambda: f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data",
        "vagrant-boxes": lambda: f"lab/debian-12/versions/1.{number}/virtualbox.json",
    }
    return makers[bucket]()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
