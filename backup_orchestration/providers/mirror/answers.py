"""What a server's answer says of an object besides its bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from backup_orchestration.stores.bucket import Reached

HEADERS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What belongs to an object besides its bytes, see `object_manifest.Entry`."""

    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """As a request of boto3 takes them."""
        tagging = {"Tagging": urlencode(self.tags)} if self.tags else {}
        return {**self.headers, "Metadata": dict(self.metadata), **tagging}

    def replacing(self, *, tags: bool) -> dict[str, Any]:
        """As a copy on the server takes them, instead of what its source has by then; `tags`: the server knows them."""
        directives = {"MetadataDirective": "REPLACE", **({"TaggingDirective": "REPLACE"} if tags else {})}
        return {**directives, **self.arguments()}


def is_md5(answer: Mapping[str, Any]) -> bool:
    """Whether the ETag of this answer is made of MD5s: not of what is encrypted with keys of a key service."""
    kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms") or answer.get("SSECustomerAlgorithm")
    etag = str(answer.get("ETag", "")).strip('"').partition("-")[0]
    return not kms and len(etag) == 32 and not set(etag) - set("0123456789abcdef")


def headers_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """Content type and its like."""
    found = {name: str(answer[name]) for name in HEADERS if answer.get(name)}
    if expires := answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("expires"):
        found["Expires"] = expires  # boto3 makes a time of it, or nothing, and not the text that was stored
    return found


def metadata_of(answer: Mapping[str, Any], own: Collection[str] = ()) -> dict[str, str]:
    """User metadata without what the server adds of its own; some servers change the case of its names."""
    found = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
    return {name: value for name, value in found.items() if name not in own}


def tags_of(bucket: Reached, key: str, answer: Mapping[str, Any], counts: bool) -> dict[str, str]:
    """The tags of an object.

    Args:
        bucket: that it is in.
        key: of the object.
        answer: of the server about it.
        counts: the server says how many there are where there are some.
    """
    count = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-tagging-count")
    if count == "0" or (count is None and counts):
        return {}
    found = bucket.ask(lambda: bucket.client.get_object_tagging(Bucket=bucket.place.bucket, Key=key), key)
    return {item["Key"]: item["Value"] for item in found.get("TagSet", ())}
