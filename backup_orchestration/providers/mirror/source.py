"""The bucket that is mirrored: listed before and after, and what changes in between is found out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backup_orchestration.core.errors import SourceError, StoreError
from backup_orchestration.core.sources import Bucket
from backup_orchestration.providers.mirror.index import Index
from backup_orchestration.stores.bucket import Reached

# What a store's clock may be off by when it says how old an object is.
_CLOCK_SECONDS = 60.0
# Of servers that know no tags; rclone answers 500, whenever it is asked.
_UNKNOWN, _MISSING = (405, 500, 501), 404
_ALLOW = "let the policy's keys read tags (s3:GetObjectTagging)"


@contextmanager
def read_only_trouble(bucket: Reached) -> Iterator[None]:
    """What is wrong with the source is said as such.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        yield
    except KeyError:
        raise SourceError(f"{bucket.place}: there is no such bucket", remedy="correct the policy's source") from None
    except StoreError as error:
        raise SourceError(f"the source cannot be read: {error.message}", remedy=error.remedy) from error


def list_before(bucket: Reached, source: Bucket, index: Index, before: int | None) -> int:
    """List the source for the first time; returns how many objects it has.

    Args:
        bucket: the source.
        source: as declared.
        index: where the listing is written down.
        before: how many the newest snapshot holds; None: there is none.

    Raises:
        SourceError: it cannot be listed, is empty, or has far fewer objects than before.
    """
    with read_only_trouble(bucket):
        count = index.fill("source", bucket.listed(source.prefix))
    if not count:
        raise SourceError(f"the source is empty: {source.summary}", remedy="see who emptied it, or correct the policy")
    if before is not None and count < before * source.least_share:
        raise SourceError(
            f"the source has {count:,} objects, and the newest snapshot {before:,}: {source.summary}",
            remedy="see who deleted them; if it is meant, set least_share=0 in the policy's source for one backup",
        )
    return count


def list_after(bucket: Reached, source: Bucket, index: Index, started: datetime) -> None:
    """List the source again and hold it against the first listing: none may have been cut short.

    Raises:
        SourceError: it cannot be listed, or one listing lacked what was there.
    """
    with read_only_trouble(bucket):
        index.fill("after", bucket.listed(source.prefix))
        late = index.late(started.timestamp() - _CLOCK_SECONDS)
        hidden = next((key for key in index.lost() if still_there(bucket, key)), None)
    if key := next(iter(late), hidden):
        raise SourceError(
            f"{bucket.place}: {key!r} is there and was not listed; the store cuts its listings short",
            remedy="see what the store's own log says",
        )


def knows_tags(bucket: Reached, key: str) -> bool:
    """Whether the source's server knows tags: one that does not, fails whenever it is asked for some.

    Raises:
        StoreError: it refuses to say, e.g. because the keys do not allow it.
    """
    etag_of(bucket, key)  # it does answer
    try:
        bucket.client.get_object_tagging(Bucket=bucket.place.bucket, Key=key)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status in _UNKNOWN:
            return False
        if status != _MISSING:
            raise StoreError(f"{bucket.place}: {key!r}: its tags cannot be read: {error}", remedy=_ALLOW) from None
    except BotoCoreError as error:
        raise StoreError(f"{bucket.place}: {key!r}: its tags cannot be read: {error}") from None
    return True


def still_there(bucket: Reached, key: str) -> bool:
    """Whether the source has an object of this key now, whatever it is."""
    return etag_of(bucket, key) is not None


def etag_of(bucket: Reached, key: str) -> tuple[str, int] | None:
    """ETag and size of an object as it is now; None: it is gone."""
    try:
        found: Any = bucket.ask(lambda: bucket.client.head_object(Bucket=bucket.place.bucket, Key=key), key)
    except KeyError:
        return None
    return str(found["ETag"]).strip('"'), int(found["ContentLength"])
