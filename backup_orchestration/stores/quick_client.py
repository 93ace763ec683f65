"""The calls that a mirror makes for each object, in a third of the processor time that boto3 takes for them.

boto3 spends 1.3 ms on a call, most of it on events, rules of endpoints and models of answers. Here botocore signs a
request and urllib3 sends it. Only plain success counts: whatever else happens, boto3 makes the same call again, and its
retries, its redirects and its errors are those that the caller sees. All calls here may be made twice.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.utils import get_environ_proxies
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

# Argument or field of boto3, and the HTTP header that carries it both ways.
_HEADERS = {
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentType": "content-type",
    "Expires": "expires",
}
_ASKED = {
    **_HEADERS,
    "ContentMD5": "content-md5",
    "CopySourceIfMatch": "x-amz-copy-source-if-match",
    "IfMatch": "if-match",
    "MetadataDirective": "x-amz-metadata-directive",
    "TaggingDirective": "x-amz-tagging-directive",
    "Tagging": "x-amz-tagging",
}
_ANSWERED = {
    **_HEADERS,
    "ETag": "etag",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSECustomerAlgorithm": "x-amz-server-side-encryption-customer-algorithm",
}
_META = "x-amz-meta-"
_LISTED_BY = ("ContinuationToken", "Delimiter", "Prefix")
# Ten tags of 384 characters, escaped; more than this is no answer about tags.
_LONGEST_TAGS = 1 << 17
_UNDERSTOOD = {"Bucket", "Key", "Body", "CopySource", "Metadata", "PartNumber", *_ASKED}


@dataclass(frozen=True)
class Endpoint:
    """What a client needs to know.

    Attributes:
        url: without a path.
        ca: certificates that the endpoint's is checked by; None: the system's.
        connect, answer: seconds for a connection, and for each piece of an answer.
        connections: how many are kept; more are made when they are needed.
    """

    url: str
    region: str
    ca: Path | None
    access_key: str
    secret_key: str
    connect: float
    answer: float
    connections: int


class QuickClient:
    """A boto3 client some of whose calls take a short cut; arguments, answers and errors are boto3's.

    Answers hold what a mirror reads: ETag, ContentLength, content type and its like, Metadata, encryption, tags, Body,
    and of a listing its pages.
    May be used by many threads at once, and not by a forked child.

    Args:
        full: the boto3 client that makes all other calls, and those that did not go well.
        endpoint: that it was made for.
    """

    def __init__(self, full: Any, endpoint: Endpoint) -> None:
        self._full = full
        self._url = endpoint.url
        self._auth = S3SigV4Auth(Credentials(endpoint.access_key, endpoint.secret_key), "s3", endpoint.region)
        self._pool = None if get_environ_proxies(endpoint.url) else _pool(endpoint)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._full, name)

    def head_object(self, **asked: Any) -> Any:
        """See boto3."""
        return self._ask("HEAD", asked, _described) or self._full.head_object(**asked)

    def get_object(self, **asked: Any) -> Any:
        """See boto3; `Body` can be read and closed."""
        return self._ask("GET", asked, _streamed, stream=True) or self._full.get_object(**asked)

    def put_object(self, **asked: Any) -> Any:
        """See boto3; `Body` is bytes."""
        return self._ask("PUT", asked, _described) or self._full.put_object(**asked)

    def copy_object(self, **asked: Any) -> Any:
        """See boto3; `CopySource` is a dictionary."""
        return self._ask("PUT", asked, _copied) or self._full.copy_object(**asked)

    def get_object_tagging(self, **asked: Any) -> Any:
        """See boto3. A server that gives the object itself knows no tags: boto3 would read all of it, three times.

        Raises:
            ClientError: as from a server that says so.
        """
        return self._ask("GET", asked, _tags, query="tagging=", stream=True) or self._full.get_object_tagging(**asked)

    def list_objects_v2(self, **asked: Any) -> Any:
        """See boto3; of what is listed, key, size, ETag and time."""
        if asked.get("Delimiter"):
            return self._full.list_objects_v2(**asked)
        words = {"list-type": "2", "encoding-type": "url", "prefix": asked.get("Prefix", "")}
        if token := asked.get("ContinuationToken"):
            words["continuation-token"] = token
        query = urlencode(sorted(words.items()), quote_via=quote, safe="~")
        only = {name: value for name, value in asked.items() if name not in _LISTED_BY}
        return self._ask("GET", only, _listing, query=query) or self._full.list_objects_v2(**asked)

    def _ask(
        self,
        method: str,
        asked: Mapping[str, Any],
        read: Callable[[BaseHTTPResponse], Any],
        *,
        query: str = "",
        stream: bool = False,
    ) -> Any:
        """The answer; None if it is no plain success, or is asked for with more than is understood here."""
        if self._pool is None or not asked.keys() <= _UNDERSTOOD:
            return None
        if "PartNumber" in asked:
            query = urlencode({"partNumber": asked["PartNumber"]})
        target = _path(asked["Bucket"], asked.get("Key", "")) + (f"?{query}" if query else "")
        body = asked.get("Body")
        request = AWSRequest(method, self._url + target, _headers(asked), data=body)
        self._auth.add_auth(request)
        try:
            answer = self._pool.urlopen(
                method, target, body, dict(request.headers.items()),
                retries=False, redirect=False, preload_content=not stream, decode_content=False,
            )  # fmt: skip
        except HTTPError:
            return None
        if answer.status not in (200, 206):
            answer.close()
            return None
        return read(answer)


def _pool(endpoint: Endpoint) -> HTTPConnectionPool:
    parts = urlsplit(endpoint.url)
    timeout = Timeout(connect=endpoint.connect, read=endpoint.answer)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return HTTPConnectionPool(host, parts.port, timeout, endpoint.connections)
    context = ssl.create_default_context(cafile=endpoint.ca)
    return HTTPSConnectionPool(host, parts.port, timeout, endpoint.connections, ssl_context=context)


def _path(bucket: str, key: str) -> str:
    """As S3 signs it: every byte but these escaped, and nothing normalised."""
    return f"/{bucket}/{quote(key, safe='/~')}" if key else f"/{bucket}"


def _headers(asked: Mapping[str, Any]) -> dict[str, str]:
    headers = {_ASKED[name]: value for name, value in asked.items() if name in _ASKED}
    headers |= {f"{_META}{name}": value for name, value in asked.get("Metadata", {}).items()}
    if source := asked.get("CopySource"):
        headers["x-amz-copy-source"] = _path(source["Bucket"], source["Key"])
    return headers


def _described(answer: BaseHTTPResponse) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    found: dict[str, Any] = {name: headers[header] for name, header in _ANSWERED.items() if header in headers}
    found["ContentLength"] = int(headers.get("content-length", 0))
    found["Metadata"] = {name[len(_META) :]: value for name, value in headers.items() if name.startswith(_META)}
    found["ResponseMetadata"] = {"HTTPStatusCode": answer.status, "HTTPHeaders": headers}
    return found


def _streamed(answer: BaseHTTPResponse) -> dict[str, Any]:
    return {**_described(answer), "Body": answer}


def _copied(answer: BaseHTTPResponse) -> dict[str, Any] | None:
    """The copy's ETag; None for an error, which a server may tell after it has begun with 200."""
    root = _parsed(answer.data)
    if root is None or _name(root) != "CopyObjectResult":
        return None
    fields = {_name(child): child.text or "" for child in root}
    return {**_described(answer), "CopyObjectResult": fields} if fields.get("ETag") else None


def _listing(answer: BaseHTTPResponse) -> dict[str, Any] | None:
    """One page; None for what is no whole one. boto3 takes most of its time for a page to read the times in it."""
    root = _parsed(answer.data)
    if root is None or _name(root) != "ListBucketResult":
        return None
    told = {_name(child): child.text or "" for child in root}
    encoded = told.get("EncodingType") == "url"
    contents = []
    for item in (child for child in root if _name(child) == "Contents"):
        fields = {_name(child): child.text or "" for child in item}
        try:
            key = unquote_plus(fields["Key"], errors="strict") if encoded else fields["Key"]
            size, modified = int(fields["Size"]), datetime.fromisoformat(fields["LastModified"])
            contents.append({"Key": key, "Size": size, "ETag": fields["ETag"], "LastModified": modified})
        except (KeyError, ValueError):
            return None
    page: dict[str, Any] = {"IsTruncated": told.get("IsTruncated") == "true", "KeyCount": len(contents)}
    if token := told.get("NextContinuationToken"):
        page["NextContinuationToken"] = token
    return {**page, "Contents": contents}


def _tags(answer: BaseHTTPResponse) -> dict[str, Any] | None:
    try:
        data = answer.read(_LONGEST_TAGS + 1)
    except HTTPError:
        return None
    if len(data) > _LONGEST_TAGS:
        answer.close()
        said = {"Code": "NotImplemented", "Message": "the server answers with the object"}
        raise ClientError(
            {"Error": said, "ResponseMetadata": {"HTTPStatusCode": HTTPStatus.NOT_IMPLEMENTED}}, "GetObjectTagging"
        )
    answer.release_conn()
    root = _parsed(data)
    if root is None or _name(root) != "Tagging":
        return None
    tags = [{_name(field): field.text or "" for field in tag} for tag in root.iter() if _name(tag) == "Tag"]
    return {**_described(answer), "TagSet": tags}


def _parsed(data: bytes) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(data)  # noqa: S314 - as botocore reads it; expat refuses what grows without end
    except ElementTree.ParseError:
        return None


def _name(element: ElementTree.Element) -> str:
    """Without its name space, which some servers leave out."""
    return element.tag.rpartition("}")[2]
