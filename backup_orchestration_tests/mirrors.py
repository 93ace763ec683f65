"""Sites whose target is a bucket, on a moto server: source and destination, and what tests do to both."""

import os

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from backup_orchestration.core.evidence import Evidence
from backup_orchestration.core.progress import silent
from backup_orchestration.operations.prune import prune
from backup_orchestration_tests.conftest import make_site

KEY, SECRET = "access-key-of-tests", "secret-key-of-tests"
PART = 5000

# Every oddity that S3 allows; é stands there twice, as one code point and as e with an accent behind it.
ODD = (
    "plain.txt", "a b+c", "100%25", "50%", "what?&so#on=", "\u00e9", "e\u0301", "日本/語", "😀", "tab\there",
    "x//y", "//", "/leading", "trailing/", "./dot", "../up", "x/../y", "x/./y", "x/.", "a", "a/b", "a/b/c", "a0",
    "quo'te\"<&>", "back\\slash", " ", "trailing ", "empty", "k" * 1024, "\x1b[31mred",
)  # fmt: skip

SETTINGS = """\
contributors = ["./services.py"]
[destinations.default]
location = "s3://{bucket}/lab"
endpoint = "{endpoint}"
access_key = {{ file = "secrets/access" }}
secret_key = {{ file = "secrets/secret" }}
password = {{ file = "secrets/password" }}
patience = {patience}
[evidence]
location = "evidence"
key = {{ file = "secrets/evidence-key" }}
"""
POLICY = """BackupPolicy(
    target="app/files", provider="minio-mirror",
    source=Bucket(endpoint="{endpoint}", bucket="{bucket}", access_key=SecretRef(file=HERE / "secrets/access"),
                  secret_key=SecretRef(file=HERE / "secrets/secret"), patience={patience}{more}),
)"""


class MotoServer:
    """moto's S3, in threads of this process; each test makes buckets of its own in it."""

    def __init__(self):
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, self.port = self._server.get_host_and_port()
        self.url = f"http://{host}:{self.port}"

    def close(self):
        self._server.stop()


def client_of(url):
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=32,
                      request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )  # fmt: skip


class MirrorSite:
    """A site with the target `app/files`: a bucket of a server, mirrored into another one.

    Attributes:
        source, backups: names of the two buckets; `client` reaches that of the source, `store` that of the backups.
    """

    def __init__(self, root, source_url, backups_url=None, *, patience=10, more=""):
        self.site = make_site(root)
        self.root = root
        name = os.urandom(6).hex()
        self.source, self.backups = f"source-{name}", f"backups-{name}"
        self.source_url, self.backups_url = source_url, backups_url or source_url
        self.client, self.store = client_of(source_url), client_of(self.backups_url)
        self.client.create_bucket(Bucket=self.source)
        self.store.create_bucket(Bucket=self.backups)
        (root / "secrets" / "access").write_text(KEY)
        (root / "secrets" / "secret").write_text(SECRET)
        self.configure(patience=patience, more=more)

    def configure(self, *, source_url=None, backups_url=None, patience=10, more=""):
        endpoint = backups_url or self.backups_url
        text = SETTINGS.format(bucket=self.backups, endpoint=endpoint, patience=patience)
        (self.root / "homelab.toml").write_text(text)
        policy = POLICY.format(endpoint=source_url or self.source_url, bucket=self.source, patience=patience, more=more)
        self.site.declare(policy)
        return self

    def put(self, key, body=b"bytes", **more):
        self.client.put_object(Bucket=self.source, Key=key, Body=body, **more)

    def put_parts(self, key, sizes, **more):
        """An object in parts of these sizes."""
        where = {"Bucket": self.source, "Key": key}
        where["UploadId"] = self.client.create_multipart_upload(**where, **more)["UploadId"]
        parts = []
        for number, size in enumerate(sizes, 1):
            body = os.urandom(1024) * (size // 1024) + b"x" * (size % 1024)
            parts.append(
                {"PartNumber": number, "ETag": self.client.upload_part(**where, PartNumber=number, Body=body)["ETag"]}
            )
        self.client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})

    @property
    def homelab(self):
        return self.site.homelab

    @property
    def repository(self):
        return self.homelab.repository("app/files")

    def backup(self):
        return self.site.backup()

    def restore_test(self, key=None) -> Evidence:
        return self.site.restore_test(key=key)

    def prune(self):
        return prune(self.homelab, "app/files", silent)

    def prefix(self, snapshot):
        return f"lab/app-files/{snapshot.key}/"

    def stored(self, snapshot=None):
        """Keys of the backups, below a snapshot's prefix."""
        start = self.prefix(snapshot) if snapshot else ""
        pages = self.store.get_paginator("list_objects_v2").paginate(Bucket=self.backups, Prefix=start)
        return [item["Key"][len(start) :] for page in pages for item in page.get("Contents", ())]

    def everything(self, client, bucket, prefix=""):
        """All that belongs to each object: bytes, content type and its like, metadata, tags."""
        found = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                answer = client.get_object(Bucket=bucket, Key=item["Key"])
                tags = client.get_object_tagging(Bucket=bucket, Key=item["Key"])["TagSet"]
                found[item["Key"][len(prefix) :]] = (
                    answer["Body"].read(), answer["ContentType"], answer.get("CacheControl"),
                    answer.get("ContentDisposition"), answer["Metadata"],
                    sorted((tag["Key"], tag["Value"]) for tag in tags), item["ETag"],
                )  # fmt: skip
        return found


def odd_objects(site):
    """Fill the source with odd keys, metadata, tags, and objects in parts."""
    for number, key in enumerate(ODD):
        body = b"" if key == "empty" or key.endswith("/") else os.urandom(100 + number)
        site.put(key, body, ContentType=f"application/x-{number}", Metadata={"number": str(number)})
    site.put("tagged", b"tags", Tagging="one=1&two=a%20b%2Bc", CacheControl="no-cache", ContentDisposition="inline")
    site.put_parts("parts/even", [PART, PART, 100], ContentType="video/x", Metadata={"m": "1"}, Tagging="t=1")
    site.put_parts("parts/odd", [PART, PART + 5000, 100], ContentType="video/y", Metadata={"m": "2"}, Tagging="t=2")
    site.put_parts("parts/one", [300], ContentType="video/z")
