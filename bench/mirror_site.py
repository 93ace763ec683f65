"""What the bench of mirrors compares on one S3 server: an installation, `mc` and `rclone`, each copying one bucket."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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

# Objects that are copied and checked at once, of rclone; mc finds its own number.
_WORKERS = (8, 16, 32)


@dataclass
class Mirrors:
    """One server with the bucket to copy.

    Attributes:
        server: it runs.
        bucket: the source.
        room: directory for installations.
    """

    server: Server
    bucket: str
    room: Path
    _made: int = field(default=0)

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
        name = self._name("homelab")
        site = self._site(name)
        taken = site.homelab("backup", "run", "--all")
        shutil.rmtree(site.root)
        self._remove(name)
        return taken

    def mc(self) -> Taken:
        """`mc mirror`, then `mc diff`."""
        name = self._name("mc")
        argv = mc_for(self.room / "mc", s=self.server)
        source, target = f"s/{self.bucket}/", f"s/{_BACKUPS}/{name}/"
        taken = run([*argv, "mirror", "--quiet", source, target])
        taken += run([*argv, "diff", source, target])
        self._remove(name)
        return taken

    def best_rclone(self) -> tuple[int, Callable[[], Taken]]:
        """`rclone copy`, then `rclone check`, with as many workers as are fastest here."""
        seconds = {workers: self._rclone(workers).seconds for workers in _WORKERS}
        best = min(_WORKERS, key=lambda workers: seconds[workers])
        return best, lambda: self._rclone(best)

    def _rclone(self, workers: int) -> Taken:
        name = self._name("rclone")
        argv = self._rclone_words()
        where = [f"s:{self.bucket}", f"s:{_BACKUPS}/{name}"]
        fast = ["--transfers", workers, "--checkers", workers]
        taken = run([*argv, "copy", *map(str, fast), "--no-traverse", "--s3-no-check-bucket", *where])
        taken += run([*argv, "check", *map(str, fast), *where])
        self._remove(name)
        return taken

    def _rclone_words(self) -> Sequence[str]:
        provider = {"MinIO": "Minio", "rclone": "Rclone"}[self.server.name]
        return rclone_for(self.room / "rclone", provider, s=self.server)

    def _name(self, rival: str) -> str:
        self._made += 1
        return f"{rival}-{self.bucket}-{self._made}"

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

    def _remove(self, name: str) -> None:
        """What was copied, so that every turn finds the same disk."""
        argv = self._rclone_words()
        run([*argv, "purge", "--checkers", "16", f"s:{_BACKUPS}/{name}"])
