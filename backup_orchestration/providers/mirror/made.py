"""Copies that another tool made, held against the source: what does not hold is copied anew, and a lie is an error."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from backup_orchestration.core.errors import ToolLiedError
from backup_orchestration.core.object_manifest import Digest
from backup_orchestration.providers.mirror.answers import Attributes, headers_of, is_md5, metadata_of, tags_of
from backup_orchestration.providers.mirror.copying import Copied, Means, Task
from backup_orchestration.providers.mirror.streaming import said
from backup_orchestration.stores.bucket import Reached

_CHUNK = 1 << 20


class Made:
    """Judges what is there already.

    Args:
        tool: that made it, for messages.
        destination: that it is in.
        means: of the two servers.
    """

    def __init__(self, tool: str, destination: Reached, means: Means) -> None:
        self._tool, self._destination, self._means = tool, destination, means

    def judge(self, task: Task, head: Mapping[str, Any], attributes: Attributes, parts: list[int]) -> Copied | None:
        """The copy, if it is the object as the source has it.

        Args:
            task: what was to be copied.
            head: the source's answer about it, with the ETag that was listed.
            attributes: of the source's object.
            parts: that the source put it in, see `Stream`.

        Returns:
            None: it is not there, lacks what belongs to it, or cannot be held against anything.

        Raises:
            ToolLiedError: it has other bytes; names the key.
            StoreError: the destination does not answer.
        """
        bucket = self._destination
        try:
            found = bucket.ask(lambda: bucket.client.head_object(**self._where(task)), task.key)
            tags = tags_of(bucket, task.to, found, counts=not attributes.tags)
        except KeyError:
            return None
        etag, comparable = str(found["ETag"]).strip('"'), self._means.md5 and is_md5(head) and is_md5(found)
        whole = "-" not in task.etag + etag
        if int(found["ContentLength"]) != task.size or (comparable and whole and etag != task.etag):
            raise self._lied(task)
        if attributes != Attributes(headers_of(found), metadata_of(found, self._means.own), tags):
            return None
        if comparable and whole:
            return Copied(task, etag, f"md5:{etag}", attributes, made=True)
        must = said(task.etag, head, parts)
        return Copied(task, etag, self._read(task, must), attributes, made=True) if must else None

    def _read(self, task: Task, must: str) -> str:
        """Read it once: in other parts than the source's it has another ETag. Returns its digest."""
        bucket, held, sha256 = self._destination, Digest(must), hashlib.sha256()
        with closing(bucket.ask(lambda: bucket.client.get_object(**self._where(task))["Body"], task.key)) as body:
            while chunk := bucket.ask(lambda: body.read(_CHUNK), task.key):
                held.update(chunk)
                sha256.update(chunk)
        if not held.matches():
            raise self._lied(task)
        return f"sha256:{sha256.hexdigest()}"

    def _where(self, task: Task) -> dict[str, str]:
        return {"Bucket": self._destination.place.bucket, "Key": task.to}

    def _lied(self, task: Task) -> ToolLiedError:
        return ToolLiedError(
            f"{self._destination.place}: {task.key!r}: {self._tool} made a copy that has other bytes than the source",
            remedy="see whether it is what it should be; take it out of the policy's source to copy without it",
        )
