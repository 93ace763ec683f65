"""The data path: copies objects from one bucket to another, many at once, each held against what it is a copy of.

On the server where it can be held against the source's ETag afterwards; else through here, where it is hashed.
"""

from __future__ import annotations

import hashlib
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from backup_orchestration.core.errors import StoreError
from backup_orchestration.providers.mirror.answers import Attributes, headers_of, is_md5, metadata_of, tags_of
from backup_orchestration.providers.mirror.at_once import WORKERS, in_order
from backup_orchestration.providers.mirror.streaming import Stream, parts_digest, said
from backup_orchestration.stores.bucket import Reached

Part = TypeVar("Part")
# In one request and in memory up to this size; for each worker.
_WHOLE = 8 << 20
# Up to this size, to get an object and to put it takes no longer than to ask for it and to have it copied.
_SMALL = 64 << 10
_PART = 16 << 20
_LARGEST_PART = 64 << 20
_MOST_PARTS = 10_000
_LARGEST_COPY = 5 << 30
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Task:
    """One object to copy.

    Attributes:
        key: in the source bucket.
        to: key in the destination bucket.
        size, etag: as the source listed it; another one is not copied.
        digest: what its bytes must be, see `Digest`; it is then copied through here.
        attributes: instead of those that the source says.
        made: something is there already that another tool made; it counts if it holds.
    """

    key: str
    to: str
    size: int
    etag: str
    digest: str = ""
    attributes: Attributes | None = None
    made: bool = False


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that was held against its source.

    Attributes:
        etag: of the copy.
        digest: what its bytes are held against from now on.
        made: it was there already.
    """

    task: Task
    etag: str
    digest: str
    attributes: Attributes
    made: bool = False


@dataclass(frozen=True, slots=True)
class Missed:
    """The source does not have the object any more, or another one in its place."""

    task: Task


Judge = Callable[[Task, Mapping[str, Any], Attributes, list[int]], Copied | None]


@dataclass(frozen=True)
class Means:
    """What the two servers allow.

    Attributes:
        on_server: the destination's server can read the source.
        replaces: it gives a copy the metadata and tags that it is told, and none that the source has by then; where it
            does not, as rclone's, each copy is asked for what it has.
        md5: the destination's ETags are MD5s.
        tags: the destination keeps tags.
        source_tags: the source's server knows tags.
        counts_tags: answers of the source say how many tags there are, so that only those with some need be asked for.
        own: names of metadata that the destination's server adds to what it copies.
    """

    on_server: bool = False
    replaces: bool = True
    md5: bool = True
    tags: bool = True
    source_tags: bool = True
    counts_tags: bool = False
    own: tuple[str, ...] = ()


def copy_all(
    source: Reached,
    destination: Reached,
    tasks: Iterable[Task],
    means: Means,
    workers: int = WORKERS,
    judge: Judge | None = None,
) -> Iterator[Copied | Missed]:
    """Copy objects, in their order.

    Args:
        source, destination: the buckets; their prefixes play no part, tasks name whole keys.
        tasks: what to copy; taken as it is needed.
        means: see there.
        workers: how many are copied at once.
        judge: says of what is `made` whether it holds, see `made.Made`.

    Raises:
        StoreError: one could not be copied, at the second attempt either; names the key.
        ToolLiedError: what another tool made has other bytes; names the key.
    """
    copier = _Copier(source, destination, means, judge)
    return in_order(copier.copy, tasks, workers)


class _Copier:
    def __init__(self, source: Reached, destination: Reached, means: Means, judge: Judge | None) -> None:
        self._source, self._destination, self._means, self._judge = source, destination, means, judge

    def copy(self, task: Task) -> Copied | Missed:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._once(task, first=attempt == 1)
            except KeyError:
                return Missed(task)
            except StoreError as error:
                if attempt == _ATTEMPTS:
                    raise StoreError(f"{task.key!r}: {error.message}", remedy=error.remedy) from error
        raise AssertionError  # the loop ends above

    def _once(self, task: Task, *, first: bool) -> Copied:
        if first and (made := self._made(task)):
            return made
        # What a server cannot copy it may hold all the same: versitygw and keys that end in a slash.
        on_server = self._means.on_server and first and not task.digest and task.size > _SMALL
        copied = self._on_server(task) if on_server else None
        return copied or self._through_here(task)

    def _made(self, task: Task) -> Copied | None:
        if not (task.made and self._judge):
            return None
        head = self._ask_source("head_object", task)
        return self._judge(task, head, self._attributes(task, head), self._parts(task))

    def _on_server(self, task: Task) -> Copied | None:
        """A copy that the server made, if it can be held against the source's ETag."""
        head = self._ask_source("head_object", task)
        if not self._means.md5 or not is_md5(head) or task.size > _LARGEST_COPY:
            return None
        attributes = self._attributes(task, head)
        if "-" not in task.etag:
            answer = self._destination.ask(
                lambda: self._destination.client.copy_object(
                    Bucket=self._destination.place.bucket,
                    Key=task.to,
                    **self._copy_source(task),
                    **attributes.replacing(tags=self._means.tags),
                ),
                task.key,
            )
            etag = str(answer["CopyObjectResult"]["ETag"]).strip('"')
            same = etag == task.etag and (self._means.replaces or self._was_given(task, attributes))
            return Copied(task, etag, f"md5:{etag}", attributes) if same else None
        parts = self._parts(task)
        if not parts:
            return None
        etag = self._put_parts(task, attributes, _ranges(parts), self._copy_part)
        return Copied(task, etag, parts_digest(parts, etag), attributes) if etag == task.etag else None

    def _was_given(self, task: Task, attributes: Attributes) -> bool:
        """Whether a copy has what its source had when it was asked: a server may keep what was there by then."""
        where = {"Bucket": self._destination.place.bucket, "Key": task.to}
        head = self._store(lambda: self._destination.client.head_object(**where))
        tags = tags_of(self._destination, task.to, head, self._means.counts_tags) if self._means.tags else {}
        return Attributes(headers_of(head), metadata_of(head, self._means.own), tags) == attributes

    def _through_here(self, task: Task) -> Copied:
        answer = self._ask_source("get_object", task)
        try:
            attributes = task.attributes or self._attributes(task, answer)
            parts = self._parts(task)
            stream = Stream(
                self._source, task.key, task.size, answer["Body"], task.digest or said(task.etag, answer, parts)
            )
            if task.size <= _WHOLE and not parts:
                etag = self._put_whole(task, attributes, b"".join(stream.chunks([task.size])))
            else:
                sizes = parts if 0 < max(parts, default=0) <= _LARGEST_PART else _even(task.size)
                etag = self._put_parts(task, attributes, stream.chunks(sizes), self._send_part)
                etag = self._joined(task, etag, stream.md5())
        finally:
            answer["Body"].close()
        return Copied(task, etag, stream.digest(), attributes)

    def _ask_source(self, call: str, task: Task) -> Any:
        """The source's answer about one object, with the ETag that was listed.

        Raises:
            KeyError: it is another one by now, or gone.
        """
        asked = {"Bucket": self._source.place.bucket, "Key": task.key, "IfMatch": f'"{task.etag}"'}
        answer = self._source.ask(lambda: getattr(self._source.client, call)(**asked), task.key)
        if str(answer.get("ETag", "")).strip('"') != task.etag:  # some servers know no If-Match
            raise KeyError(task.key)
        return answer

    def _attributes(self, task: Task, answer: Mapping[str, Any]) -> Attributes:
        known = self._means.counts_tags or not self._means.source_tags
        tags = tags_of(self._source, task.key, answer, known)
        if tags and not self._means.tags:
            raise StoreError(
                f"{self._destination.place}: the store keeps no tags, and the object has some",
                remedy="choose a destination whose server keeps tags, or take the tags away",
            )
        return Attributes(headers_of(answer), metadata_of(answer, self._means.own), tags)

    def _parts(self, task: Task) -> list[int]:
        """Bytes of each part that the source put the object in, by its ETag; none where nobody knows."""
        count = task.etag.partition("-")[2]
        if not count.isdigit() or not 0 < int(count) <= _MOST_PARTS:
            return []
        sizes = []
        for number in range(1, int(count) + 1):
            asked = {"Bucket": self._source.place.bucket, "Key": task.key, "PartNumber": number}
            try:
                # Not held against the listed ETag: some servers say that of the part. What is made with it, is.
                answer = self._source.ask(lambda: self._source.client.head_object(**asked), task.key)  # noqa: B023
            except StoreError:
                return []
            sizes.append(int(answer["ContentLength"]))
        return sizes if sum(sizes) == task.size and all(sizes) else []

    def _copy_source(self, task: Task) -> dict[str, Any]:
        return {
            "CopySource": {"Bucket": self._source.place.bucket, "Key": task.key},
            "CopySourceIfMatch": f'"{task.etag}"',
        }

    def _put_whole(self, task: Task, attributes: Attributes, body: bytes) -> str:
        md5 = hashlib.md5(body, usedforsecurity=False)
        answer = self._store(
            lambda: self._destination.client.put_object(
                Bucket=self._destination.place.bucket,
                Key=task.to,
                Body=body,
                ContentMD5=b64encode(md5.digest()).decode(),
                **attributes.arguments(),
            )
        )
        etag = str(answer["ETag"]).strip('"')
        self._hold(etag, md5.hexdigest())
        return etag

    def _put_parts(
        self, task: Task, attributes: Attributes, parts: Iterable[Part], put: Callable[..., tuple[str, str]]
    ) -> str:
        where = {"Bucket": self._destination.place.bucket, "Key": task.to}
        client = self._destination.client
        begun = self._store(lambda: client.create_multipart_upload(**where, **attributes.arguments()))
        where["UploadId"] = begun["UploadId"]
        etags, md5s = [], b""
        try:
            for number, part in enumerate(parts, 1):
                etag, md5 = put(task, {**where, "PartNumber": number}, part)
                etags.append({"PartNumber": number, "ETag": etag})
                md5s += bytes.fromhex(md5) if md5 else b""
            answer = self._store(lambda: client.complete_multipart_upload(**where, MultipartUpload={"Parts": etags}))
        except BaseException:
            with suppress(StoreError):  # why it is aborted is what is told
                self._store(lambda: client.abort_multipart_upload(**where))
            raise
        etag = str(answer["ETag"]).strip('"')
        if md5s and "-" in etag:
            self._hold(etag, f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(etags)}")
        return etag

    def _joined(self, task: Task, etag: str, md5: str) -> str:
        """The ETag of an object in parts as it will be listed: some servers say the MD5 of the whole then."""
        where = {"Bucket": self._destination.place.bucket, "Key": task.to}
        now = str(self._store(lambda: self._destination.client.head_object(**where))["ETag"]).strip('"')
        if now != etag:
            self._hold(now, md5)
        return now

    def _copy_part(self, task: Task, where: dict[str, Any], part: str) -> tuple[str, str]:
        answer = self._destination.ask(
            lambda: self._destination.client.upload_part_copy(**where, **self._copy_source(task), CopySourceRange=part),
            task.key,
        )
        return answer["CopyPartResult"]["ETag"], ""

    def _send_part(self, _task: Task, where: dict[str, Any], part: bytes) -> tuple[str, str]:
        md5 = hashlib.md5(part, usedforsecurity=False)
        sent = b64encode(md5.digest()).decode()
        answer = self._store(lambda: self._destination.client.upload_part(**where, Body=part, ContentMD5=sent))
        return answer["ETag"], md5.hexdigest()

    def _hold(self, etag: str, wanted: str) -> None:
        if self._means.md5 and etag != wanted:
            raise StoreError(f"{self._destination.place}: the store says {etag} of what was sent, it is {wanted}")

    def _store(self, call: Callable[[], Any]) -> Any:
        """The destination's answer; that something is missing there is no fault of the source."""
        try:
            return self._destination.ask(call, "")
        except KeyError:
            raise StoreError(f"{self._destination.place}: there is no such bucket", remedy="make the bucket") from None


def _even(size: int) -> list[int]:
    """Sizes of the parts that so many bytes are put in."""
    part = max(_PART, math.ceil(size / _MOST_PARTS))
    return [min(part, size - start) for start in range(0, size, part)]


def _ranges(parts: list[int]) -> Iterator[str]:
    start = 0
    for size in parts:
        yield f"bytes={start}-{start + size - 1}"
        start += size
