"""Objects below a prefix of a bucket, by the S3 API.

Short time limits and few retries: a store that does not answer is an error that a person should see tonight.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from backup_orchestration.core.errors import SpaceError, StoreError
from backup_orchestration.core.places import Bucket, answer_seconds
from backup_orchestration.core.secrets import Secrets
from backup_orchestration.stores.quick_client import Endpoint, QuickClient

Result = TypeVar("Result")

_CONNECT_SECONDS = 10
_ATTEMPTS = 3
_IN_MEMORY_BYTES = 32 << 20
_MISSING = ("NoSuchKey", "404", "NotFound", "NoSuchBucket", "PreconditionFailed", "412")
# Of one client, which many threads may use at once.
_CONNECTIONS = 32


@dataclass(frozen=True)
class Listed:
    """One object of a listing.

    Attributes:
        etag: without its quotes.
        modified: when it was last written, UTC.
    """

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Reached:
    """A place in a bucket, and the client that reaches it."""

    place: Bucket
    client: Any

    def key(self, name: str) -> str:
        """The key of a name below the place's prefix."""
        return f"{self.place.prefix}/{name}" if self.place.prefix else name

    def listed(self, start: str) -> Iterator[Listed]:
        """Every object whose key begins so, to the last page.

        Raises:
            KeyError: there is no such bucket.
            StoreError: the store refuses, does not answer, or ends the listing without saying how it goes on.
        """
        for page in self.pages(start, ""):
            for item in page.get("Contents", ()):  # the last page may have none
                yield Listed(item["Key"], int(item["Size"]), item.get("ETag", "").strip('"'), item["LastModified"])

    def pages(self, start: str, delimiter: str) -> Iterator[Mapping[str, Any]]:
        """The pages of a listing, see `listed`."""
        arguments: dict[str, Any] = {"Bucket": self.place.bucket, "Prefix": start, "Delimiter": delimiter}
        while True:
            page = self.ask(lambda: self.client.list_objects_v2(**arguments), start)
            yield page
            if not page.get("IsTruncated"):
                return
            token = page.get("NextContinuationToken")
            if not token or token == arguments.get("ContinuationToken"):
                raise StoreError(
                    f"{self.place}: the store's listing ends in the middle", remedy="see what the store's own log says"
                )
            arguments["ContinuationToken"] = token

    def ask(self, call: Callable[[], Result], name: str) -> Result:
        """The store's answer.

        Raises:
            KeyError: what is asked for is not there, or not with the ETag that it was asked for with.
            StoreError: the store refuses or does not answer.
        """
        try:
            return call()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _MISSING:
                raise KeyError(name) from error
            ours = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500
            raise StoreError(
                f"{self.place}: the store answers {code or 'with an error'}",
                remedy="see the keys and their rights" if ours else "see what the store's own log says",
            ) from None
        except (BotoCoreError, HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # not the store's: what is fetched is kept
                raise SpaceError(f"{tempfile.gettempdir()} is full", remedy="free room there, or set TMPDIR") from None
            raise StoreError(
                f"{self.place}: the store cannot be used: {type(error).__name__}: {error}",
                remedy="see whether its endpoint answers",
            ) from None


def reach(place: Bucket, secrets: Secrets) -> Reached:
    """Open a bucket; nothing is asked of its endpoint yet.

    Raises:
        SecretError: a key is missing.
    """
    return Reached(place, s3_client(place, secrets))


class BucketObjects:
    """See `Objects`."""

    def __init__(self, place: Bucket, secrets: Secrets) -> None:
        self._place = place
        self._reached = reach(place, secrets)
        self._client = self._reached.client

    def names(self, prefix: str) -> Sequence[str]:
        """See `Objects`."""
        found = (name for name, _ in self._listed(prefix, delimiter="/"))
        return tuple(sorted(name for name in found if not name.rpartition("/")[2].startswith(".")))

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See `Objects`."""
        yield from self._listed(prefix, delimiter="")

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """See `Objects`."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:

            def fetch() -> None:
                body = self._client.get_object(Bucket=self._place.bucket, Key=self._key(name))["Body"]
                shutil.copyfileobj(body, file)

            self._reached.ask(fetch, name)
            file.seek(0)
            yield file  # type: ignore[misc]

    def read(self, name: str) -> bytes:
        """See `Objects`."""
        with self.open(name) as file:
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        """See `Objects`."""

        def put() -> None:
            self._client.put_object(Bucket=self._place.bucket, Key=self._key(name), Body=data)

        try:
            self._reached.ask(put, name)
        except KeyError:
            raise StoreError(f"{self._place}: there is no such bucket", remedy="make the bucket first") from None

    def delete(self, name: str) -> None:
        """See `Objects`."""
        self._reached.ask(lambda: self._client.delete_object(Bucket=self._place.bucket, Key=self._key(name)), name)

    def _key(self, name: str) -> str:
        return self._reached.key(name)

    def _listed(self, prefix: str, delimiter: str) -> Iterator[tuple[str, int]]:
        cut = len(self._key(""))
        try:
            for page in self._reached.pages(self._key(f"{prefix}/").lstrip("/"), delimiter):
                yield from ((item["Key"][cut:], int(item["Size"])) for item in page.get("Contents", ()))
        except KeyError:
            return  # no bucket yet: nothing is in it


def s3_client(place: Bucket, secrets: Secrets) -> Any:
    """A boto3 client for a place, with `QuickClient`'s short cuts; its time limits follow from the place's patience.

    Raises:
        SecretError: a key is missing.
    """
    key = secrets.value(place.access_key, f"{place.name}.access_key")
    secret = secrets.value(place.secret_key, f"{place.name}.secret_key")
    answer = answer_seconds(place.patience)
    return _client(place.endpoint, place.region, place.ca, key, secret, answer, os.getpid())


@lru_cache(maxsize=16)
def _client(url: str, region: str, ca: Path | None, key: str, secret: str, answer: float, _process: int) -> Any:
    """One for each endpoint and process: it keeps its connections, which a forked child must not share."""
    endpoint = Endpoint(url, region, ca, key, secret, min(_CONNECT_SECONDS, answer), answer, _CONNECTIONS)
    full = boto3.client(
        "s3",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        verify=str(ca) if ca else None,
        config=Config(
            connect_timeout=endpoint.connect,
            read_timeout=answer,
            max_pool_connections=_CONNECTIONS,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            # Servers that are not AWS often know no trailing checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        ),
    )
    return QuickClient(full, endpoint)
