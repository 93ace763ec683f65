"""The short cut answers as boto3 does, on every server; what does not go well there is boto3's to say."""

import http.server
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from backup_orchestration.providers.mirror.answers import Attributes, headers_of
from backup_orchestration.providers.mirror.trial import tried
from backup_orchestration.stores.bucket import Reached
from backup_orchestration.stores.quick_client import Endpoint, QuickClient
from backup_orchestration_tests.s3_servers import ACCESS, REGION, SECRET

KEYS = (
    "plain", "a b", "a+b", "100%", "%41", "q?x=1&y#z", "ünï", "u\u0308ni", "日本語/🎉", "quote'\"<>&", "star*~()!",
    "semi;colon,comma", "back\\slash", "dots/./x", "dots/../x", "double//slash", "tail/", "tab\tkey",
)  # fmt: skip
EXPIRES = "Wed, 21 Oct 2037 07:28:00 GMT"
TYPES = {
    "ContentType": "text/x-odd; charset=utf-8",
    "CacheControl": "max-age=60",
    "ContentLanguage": "de",
    "Expires": EXPIRES,
}
READ = ("ETag", "ContentLength", "CacheControl", "ContentEncoding", "ContentLanguage", "ContentType")


def quick(server, full=None, url=None):
    endpoint = Endpoint(url or server.endpoint, REGION, server.ca if server else None, ACCESS, SECRET, 5, 5, 8)
    return QuickClient(full, endpoint)


@pytest.fixture(scope="session")
def bucket(server):
    server.client().create_bucket(Bucket="quick")
    return server


def lower(metadata):
    return {name.lower(): value for name, value in metadata.items()}


def same(ours, theirs):
    assert {name: ours.get(name) for name in READ} == {name: theirs.get(name) for name in READ}
    assert lower(ours["Metadata"]) == lower(theirs["Metadata"])
    assert headers_of(ours) == headers_of(theirs)  # Expires as well, which boto3 makes a time of


def refused(full, key):
    """Whether the server itself cannot hold a key."""
    try:
        full.put_object(Bucket="quick", Key=key, Body=b"probe")
        return full.get_object(Bucket="quick", Key=key)["Body"].read() != b"probe"
    except ClientError:
        return True


@pytest.mark.only_servers("MinIO", "versitygw", "moto")
@pytest.mark.parametrize("key", KEYS)
def test_every_call_is_as_boto3_says(bucket, key):
    full = bucket.client()
    if refused(full, key):
        return  # the matrix names them
    client = quick(bucket)  # no boto3 behind it: a call that needs it fails
    asked = {"Bucket": "quick", "Key": key}
    put = client.put_object(**asked, Body=b"some bytes", Metadata={"who": "me", "a-b": "1 2"}, **TYPES)
    there = full.get_object(**asked)
    assert there["Body"].read() == b"some bytes"
    assert put["ETag"] == there["ETag"]
    same(client.head_object(**asked, IfMatch=put["ETag"]), full.head_object(**asked))
    got = client.get_object(**asked, IfMatch=put["ETag"])
    same(got, there)
    assert got["Body"].read(4) + got["Body"].read(100) == b"some bytes"
    got["Body"].close()
    copy = {"Bucket": "quick", "Key": f"copies/{key}"}
    copied = client.copy_object(**copy, CopySource=asked, CopySourceIfMatch=put["ETag"])
    kept = full.head_object(**copy)
    assert copied["CopyObjectResult"]["ETag"] == kept["ETag"]
    same(client.head_object(**copy), kept)
    assert kept["ContentType"] == TYPES["ContentType"]


@pytest.mark.only_servers("rclone")
@pytest.mark.parametrize("key", ["plain", "a b", "%41", "ünï/🎉"])
def test_every_call_is_as_boto3_says_on_the_example_labs_store(bucket, key):
    test_every_call_is_as_boto3_says(bucket, key)


@pytest.mark.only_servers("MinIO", "versitygw", "moto")
def test_tags_are_as_boto3_says(bucket):
    full, client, asked = bucket.client(), quick(bucket), {"Bucket": "quick", "Key": "tagged"}
    client.put_object(**asked, Body=b"", Tagging="a=1&b=x%20%2B", Metadata={})
    told = client.get_object_tagging(**asked)["TagSet"]
    assert sorted(told, key=str) == sorted(full.get_object_tagging(**asked)["TagSet"], key=str)
    assert {tag["Key"]: tag["Value"] for tag in told} == {"a": "1", "b": "x +"}


@pytest.mark.only_servers("MinIO", "versitygw", "moto")
def test_a_copy_gets_what_it_is_told(bucket):
    """And nothing of its source. rclone's keeps both, which a mirror's trial finds out."""
    full, client, source = bucket.client(), quick(bucket, bucket.client()), {"Bucket": "quick", "Key": "source"}
    told = Attributes({"ContentType": "text/x-new"}, {"new": "1"}, {"new": "1"})
    full.put_object(**source, Body=b"x", ContentType="text/x-old", Metadata={"old": "1"}, Tagging="old=1")
    for number, attributes in enumerate((told, replace(told, tags={}))):
        copy = {"Bucket": "quick", "Key": f"copy-{number}"}
        client.copy_object(**copy, CopySource=source, **attributes.replacing(tags=True))
        kept = full.head_object(**copy)
        assert kept["ContentType"] == "text/x-new"
        assert lower(kept["Metadata"]) == {"new": "1"}
        tags = full.get_object_tagging(**copy)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == attributes.tags


def test_a_trial_finds_out_whose_copies_get_what_they_are_told(bucket):
    place = bucket.bucket("quick")
    assert tried(Reached(place, quick(bucket, bucket.client())), "trial/", None).replaces == (bucket.name != "rclone")


@pytest.mark.only_servers("rclone")
def test_a_server_that_gives_the_object_for_its_tags_is_not_read_to_the_end(bucket):
    """Nor asked again by boto3: for a large object that took seconds."""
    bucket.client().put_object(Bucket="quick", Key="large", Body=bytes(1 << 20))
    with pytest.raises(ClientError, match="NotImplemented") as raised:
        quick(bucket).get_object_tagging(Bucket="quick", Key="large")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def pages(client, **asked):
    """Every page of a listing, as a mirror asks for it."""
    found, token = [], {}
    while True:
        page = client.list_objects_v2(**asked, **token, Delimiter="")
        found.append(page)
        if not page.get("IsTruncated"):
            return found
        token = {"ContinuationToken": page["NextContinuationToken"]}


def test_listings_are_as_boto3_says(bucket):
    full = bucket.client()
    client = quick(bucket, full)
    full.create_bucket(Bucket="listed")
    odd = (
        [key for key in KEYS if not set(key.split("/")) & {"", ".", ".."}]
        if bucket.name != "rclone"
        else ["a b", "ünï"]
    )
    keys = [f"page/{number:04}" for number in range(1001)] + odd
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket="listed", Key=key, Body=b"x"), keys))
    fields = ("Key", "Size", "ETag", "LastModified")
    for prefix in ("", "page/", "none"):
        both = []
        for each in (quick(bucket), full):
            got = pages(each, Bucket="listed", Prefix=prefix)
            both.append([{name: item[name] for name in fields} for page in got for item in page.get("Contents", ())])
        assert both[0] == both[1]
        assert len(both[0]) == {"": len(keys), "page/": 1001, "none": 0}[prefix]
    assert client.list_objects_v2(Bucket="listed", Delimiter="/")["CommonPrefixes"]


PAGE = b"""<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k</Key><Size>1</Size>
<ETag>"e"</ETag><LastModified>2026-11-25T08:55:07.447Z</LastModified></Contents></ListBucketResult>"""


@pytest.mark.parametrize(
    ("body", "ours"),
    [
        (PAGE, True), (PAGE[:-5], False), (PAGE.replace(b"Size", b"Other"), False),
        (PAGE.replace(b"07.447Z", b"?"), False),
        (PAGE.replace(b"ListBucketResult", b"Error"), False), (b"", False),
    ],
)  # fmt: skip
def test_a_page_counts_only_whole(body, ours):
    with answering(200, body) as url:
        page = quick(None, Full(), url).list_objects_v2(Bucket="b", Prefix="")
        assert (page == "boto3") is not ours


@pytest.mark.only_servers("MinIO", "versitygw", "moto")
def test_what_was_stored_compressed_is_read_as_it_was_stored(bucket):
    """The object's own content encoding is not undone on the way."""
    asked, packed = {"Bucket": "quick", "Key": "packed"}, bytes.fromhex("1f8b0800000000000003030000000000" + "00000000")
    client = quick(bucket)
    client.put_object(**asked, Body=packed, ContentEncoding="gzip", Metadata={})
    assert client.get_object(**asked)["Body"].read() == packed


@pytest.mark.only_servers("MinIO", "versitygw")
def test_the_etag_is_pinned(bucket):
    full, asked = bucket.client(), {"Bucket": "quick", "Key": "pinned"}
    full.put_object(**asked, Body=b"one")
    client, other = quick(bucket, full), '"00000000000000000000000000000000"'
    for call in (
        lambda: client.head_object(**asked, IfMatch=other),
        lambda: client.get_object(**asked, IfMatch=other),
        lambda: client.copy_object(Bucket="quick", Key="x", CopySource=asked, CopySourceIfMatch=other),
    ):
        with pytest.raises(ClientError, match=r"412|Precondition"):
            call()


def test_what_is_not_there_is_boto3s_error(bucket):
    client = quick(bucket, bucket.client())
    with pytest.raises(ClientError, match=r"404|NotFound"):
        client.head_object(Bucket="quick", Key="nothing")
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket="quick", Key="nothing")


def test_other_calls_and_unknown_arguments_are_boto3s(bucket):
    client = quick(bucket, bucket.client())
    client.put_object(Bucket="quick", Key="ranged", Body=b"0123456789")
    assert client.get_object(Bucket="quick", Key="ranged", Range="bytes=2-4")["Body"].read() == b"234"
    assert client.list_objects_v2(Bucket="quick", Prefix="ranged")["KeyCount"] == 1


@pytest.mark.only_servers("MinIO", "rclone")
def test_many_threads_share_it(bucket, caplog):
    client = quick(bucket)

    def turn(number):
        asked, body = {"Bucket": "quick", "Key": f"many/{number}"}, b"%d" % number * 1000
        client.put_object(**asked, Body=body)
        with_body = client.get_object(**asked)  # holds its connection while others are asked for
        client.head_object(**asked)
        return with_body["Body"].read() == body

    assert turn(200)  # alone: rclone's server fails where two make the folder at once, and the full client asks again
    with caplog.at_level(logging.ERROR), ThreadPoolExecutor(16) as pool:
        assert all(pool.map(turn, range(200)))


class Full:
    """Stands where boto3 does, and says so."""

    def copy_object(self, **asked):
        return {"CopyObjectResult": {"ETag": "boto3"}}

    def head_object(self, **asked):
        return "boto3"

    list_objects_v2 = head_object


@contextmanager
def answering(status, body, close=False):
    """A server that always says this."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) + (10 if close else 0)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = close

        do_HEAD = do_GET = do_PUT  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


RESULT = b"<CopyObjectResult><ETag>&quot;%s&quot;</ETag></CopyObjectResult>"


@pytest.mark.parametrize(
    ("status", "body", "close", "etag"),
    [
        (200, RESULT % b"1", False, '"1"'),
        (200, b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code></Error>", False, "boto3"),
        (200, RESULT.replace(b"ETag", b"Other") % b"1", False, "boto3"),
        (200, b"<CopyObjectResult><ETag>", False, "boto3"),
        (200, b"", False, "boto3"),
        (200, RESULT % b"1", True, "boto3"),
        (500, RESULT % b"1", False, "boto3"),
        (307, RESULT % b"1", False, "boto3"),
    ],
)
def test_a_copy_counts_only_when_the_server_says_so(status, body, close, etag):
    asked = {"Bucket": "b", "Key": "k", "CopySource": {"Bucket": "b", "Key": "s"}}
    with answering(status, body, close) as url:
        assert quick(None, Full(), url).copy_object(**asked)["CopyObjectResult"]["ETag"] == etag


def test_a_store_that_is_away_is_boto3s_error(bucket, monkeypatch):
    class Away:
        def head_object(self, **asked):
            raise EndpointConnectionError(endpoint_url="there")

    with pytest.raises(EndpointConnectionError):
        quick(None, Away(), "http://127.0.0.1:9").head_object(Bucket="b", Key="k")


def test_behind_a_proxy_boto3_makes_every_call(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with answering(200, b"") as url:
        monkeypatch.setattr("botocore.utils.should_bypass_proxies", lambda _: False)
        assert quick(None, Full(), url).head_object(Bucket="b", Key="k") == "boto3"
