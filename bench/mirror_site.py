"""What the bench of mirrors compares on one S3 server: an installation, `mc` and `rclone`, each copying one bucket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_orchestration_tests.s3_servers import Server, mc_for, rclone_for
from bench.measure import Taken, run
from bench.site import Site

TARGET = "app/bucket"
_BACKUPS = "backups"
_FILLERS = 4

_SETTINGS = """\
contributors = ["./services.py"]
[destinations.default]
location = "s3://{backups}/{name}"
endpoint = "{endpoint}"
{ca}access_key = {{ file = "{root}/access" }}
secret_key = {{ file = "{root}/secret" }}
password = {{ file = "secrets/password" }}
[evidence]
location = "evidence"
key = {{ file = "secrets/evidence-key" }}
"""

_SERVICES = """\
from pathlib import Path
from backup_orchestration import BackupPolicy, Bucket, SecretRef

class Services:
    def policies(self):
        root = Path({root!r})
        source = Bucket(endpoint={endpoint!r}, bucket={bucket!r}, ca={ca!r},
                        access_key=SecretRef(file=root / "access"), secret_key=SecretRef(file=root / "secret"))
        return [BackupPolicy(target={target!r}, provider="minio-mirror", source=source)]

contributor = Services()
"""

# Prints the stages of one backup, and the seconds of each.
_STAGES = """\
import sys, time
from pathlib import Path
from backup_orchestration.homelab.load import load
from backup_orchestration.operations.backup import backup
homelab, seconds = load(Path(sys.argv[1]), {}), {}
last, since = "open", time.monotonic()
def tell(update):
    global last, since
    now = time.monotonic()
    seconds[last] = seconds.get(last, 0) + now - since
    last, since = update.stage, now
backup(homelab, sys.argv[2], "of the bench", tell)
seconds[last] = seconds.get(last, 0) + time.monotonic() - since
print(", ".join(f"{stage} {took:.2f} s" for stage, took in seconds.items()))
"""

# Objects that are copied and checked at once, of rclone; mc finds its own number.
_WORKERS = (8, 16, 32)


@dataclass
class Mirrors:
    """One server with the bucket to copy.

    Attributes:
        server: it runs.
        bucket: the source.
        room: directory for installations.
        workers: how many objects rclone copies and checks at once where it is fastest; 0 until it has run.
    """

    server: Server
    bucket: str
    room: Path
    workers: int = 0
    _made: int = 0

    def fill(self, count: int, size: int) -> None:
        """Make both buckets, and so many objects that do not compress, in thirty folders, with metadata."""
        client = self.server.client(max_pool_connections=_FILLERS)
        if _BACKUPS not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=_BACKUPS)
        client.create_bucket(Bucket=self.bucket)

        def put(number: int) -> None:
            client.put_object(
                Bucket=self.bucket,
                Key=f"folder-{number % 30}/object-{number:05}.bin",
                Body=os.urandom(size),
                ContentType="application/x-bench",
                Metadata={"number": str(number)},
            )

        with ThreadPoolExecutor(_FILLERS) as pool:
            list(pool.map(put, range(count)))

    def homelab(self) -> Taken:
        """The first backup of a new installation, as a person runs it: the whole command, its read-back included."""
        with self._named("homelab") as name:
            return self._site(name).homelab("backup", "run", "--all")

    def stages(self) -> str:
        """How long each stage of ours takes, in a run of its own: what the command costs besides is not in it."""
        with self._named("homelab") as name:
            words = [sys.executable, "-c", _STAGES, str(self._site(name).root / "homelab.toml"), TARGET]
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def mc(self) -> Taken:
        """`mc mirror`, then `mc diff`."""
        argv = mc_for(self.room / "mc", s=self.server)
        with self._named("mc") as name:
            source, target = f"s/{self.bucket}/", f"s/{_BACKUPS}/{name}/"
            taken = run([*argv, "mirror", "--quiet", source, target])
            return taken + run([*argv, "diff", source, target])

    def rclone(self) -> Taken:
        """`rclone copy`, then `rclone check`, with as many workers as are fastest here."""
        if not self.workers:
            seconds = {workers: self._rclone(workers).seconds for workers in _WORKERS}
            self.workers = min(_WORKERS, key=lambda workers: seconds[workers])
        return self._rclone(self.workers)

    def _rclone(self, workers: int) -> Taken:
        argv = self._rclone_words()
        fast = ["--transfers", str(workers), "--checkers", str(workers)]
        with self._named("rclone") as name:
            where = [f"s:{self.bucket}", f"s:{_BACKUPS}/{name}"]
            taken = run([*argv, "copy", *fast, "--no-traverse", "--s3-no-check-bucket", *where])
            return taken + run([*argv, "check", *fast, *where])

    def _rclone_words(self) -> Sequence[str]:
        provider = {"MinIO": "Minio", "rclone": "Rclone"}[self.server.name]
        return rclone_for(self.room / "rclone", provider, s=self.server)

    @contextmanager
    def _named(self, rival: str) -> Iterator[str]:
        """A name to copy to; what is there goes afterwards, so that every turn finds the same disk."""
        self._made += 1
        name = f"{rival}-{self.bucket}-{self._made}"
        try:
            yield name
        finally:
            shutil.rmtree(self.room / name, ignore_errors=True)
            run([*self._rclone_words(), "purge", "--checkers", "16", f"s:{_BACKUPS}/{name}"])

    def _site(self, name: str) -> Site:
        root = self.room / name
        (root / "secrets").mkdir(parents=True)
        (root / "secrets" / "password").write_text("of the bench\n")
        (root / "secrets" / "evidence-key").write_text("another one\n")
        where = {"endpoint": self.server.endpoint, "root": str(self.server.root)}
        ca = f'ca = "{self.server.ca}"\n' if self.server.ca else ""
        (root / "homelab.toml").write_text(_SETTINGS.format(backups=_BACKUPS, name=name, ca=ca, **where))
        policy = {"bucket": self.bucket, "ca": str(self.server.ca) if self.server.ca else None, "target": TARGET}
        (root / "services.py").write_text(_SERVICES.format(**policy, **where))
        return Site(root)
