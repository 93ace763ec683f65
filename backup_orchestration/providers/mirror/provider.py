"""minio-mirror: copies of a bucket in another bucket, one prefix for each snapshot, as `layout` says.

Over the S3 API, which every server in MinIO's place speaks. Nothing is encrypted unless the server does it.
"""

from __future__ import annotations

import json
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from backup_orchestration.core import object_manifest
from backup_orchestration.core.destination import Destination
from backup_orchestration.core.errors import (
    HomelabError,
    PolicyError,
    RepositoryMissingError,
    RepositoryVanishedError,
    ToolLiedError,
    UnknownSnapshotError,
    WrongPasswordError,
)
from backup_orchestration.core.places import Bucket, Place
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.private_files import private_directory
from backup_orchestration.core.progress import Progress, Update, silent
from backup_orchestration.core.retention import PrunePlan
from backup_orchestration.core.snapshot import KEY_PATTERN, Snapshot, snapshot_key
from backup_orchestration.core.sources import Bucket as BucketSource
from backup_orchestration.core.tools import Requirement, find
from backup_orchestration.providers.access import access_commands
from backup_orchestration.providers.base import (
    BackupSpec,
    ByHand,
    Listing,
    Provider,
    PruneReport,
    Repository,
    RestoreReport,
    RestoreSpec,
    Surroundings,
    read_back_pruned,
)
from backup_orchestration.providers.capture import empty_staging, naming_a_full_disk, require_space
from backup_orchestration.providers.mirror import index
from backup_orchestration.providers.mirror.at_once import WORKERS, in_order
from backup_orchestration.providers.mirror.capturing import Capture
from backup_orchestration.providers.mirror.layout import COMPLETE, REPOSITORY, Complete, Seal
from backup_orchestration.providers.mirror.mc import MC, McMirror
from backup_orchestration.providers.mirror.restoring import Restoring
from backup_orchestration.stores.bucket import BucketObjects, Reached, reach

_ABANDONED = timedelta(days=1)


class MinioMirror(Provider):
    """See the module."""

    name: ClassVar[str] = "minio-mirror"
    encryption: ClassVar[str] = "none"
    tools: ClassVar[tuple[Requirement, ...]] = ()
    sources: ClassVar[tuple[str, ...]] = ("bucket",)

    def needs(self, policy: BackupPolicy) -> tuple[Requirement, ...]:
        """See `Provider`."""
        return (MC,) if isinstance(policy.source, BucketSource) and policy.source.engine == "mc" else ()

    def open(self, policy: BackupPolicy, destination: Destination, around: Surroundings) -> Repository:
        """See `Provider`."""
        return MirrorRepository(policy, destination, around, self.location(policy, destination))

    def location(self, policy: BackupPolicy, destination: Destination) -> Bucket:
        """See `Provider`.

        Raises:
            PolicyError: the destination is a directory.
        """
        place: Place = destination.place / policy.slug
        if not isinstance(place, Bucket):
            raise PolicyError(
                f"{policy.target}: destination: {self.name} keeps objects as objects, and "
                f"[destinations.{destination.name}] is the directory {destination.place}",
                remedy="choose a destination whose location starts with s3://, or export the bucket to files",
            )
        return place


class MirrorRepository(Repository):
    """The mirrors of one target in one destination."""

    def __init__(self, policy: BackupPolicy, destination: Destination, around: Surroundings, place: Bucket) -> None:
        self._policy, self._destination, self._around, self._place = policy, destination, around, place

    @property
    def location(self) -> str:
        """See `Repository`."""
        return str(self._place)

    def backup(self, spec: BackupSpec, progress: Progress) -> Snapshot:
        """See `Repository`."""
        declared = self._policy.source
        assert isinstance(declared, BucketSource)  # noqa: S101 - see `sources`
        program = find(MC).path if declared.engine == "mc" else None
        identity = self._open_or_create(create=spec.create)
        latest = self.latest()
        started, snapshot_id = self._around.now(), secrets.token_hex(4)
        key = snapshot_key(started, snapshot_id)
        source = reach(declared.place(f"{self._policy.target}: source"), self._around.secrets)
        with self._staging() as scratch, index.opened(scratch / "index.sqlite") as lists:
            into = self._reached(key)
            mc = McMirror(source, into, declared.prefix, self._around.secrets, scratch, program) if program else None
            capture = Capture(declared, source, into, lists, scratch, progress, mc)
            captured = capture.run(latest.counts["objects"] if latest else None, started)
        record = Complete(
            target=self._policy.target,
            repository_id=identity,
            snapshot_id=snapshot_id,
            key=key,
            run_id=spec.run_id,
            taken_at=started,
            finished_at=self._around.now(),
            manifest_sha256=captured.manifest_sha256,
            objects=captured.objects,
            bytes=captured.bytes,
            changed=captured.changed,
            deleted=captured.deleted,
            own_metadata=captured.own,
            by_mc=captured.by_mc,
            description=self._policy.description,
        )
        self._objects().write(f"{key}/{COMPLETE}", self._seal().seal(record.model_dump(mode="json")))
        found = [item for item in self.snapshots() if item.run_id == spec.run_id]
        if len(found) != 1:
            raise ToolLiedError(f"{self.location} lists {len(found)} snapshots of run {spec.run_id}; it should be one")
        return found[0]

    def snapshots(self) -> Sequence[Snapshot]:
        """See `Repository`."""
        return self.listing().snapshots

    def restore(self, snapshot: Snapshot, into: RestoreSpec, progress: Progress) -> RestoreReport:
        """See `Repository`. Objects stand where `object_manifest.file_of` says."""
        require_space(into.directory, snapshot.size_bytes, f"restoring {snapshot.key}")
        began = time.monotonic()
        with self._restoring(snapshot, into.scratch, progress) as restoring:
            size = restoring.to_directory(into.directory)
        seconds = time.monotonic() - began
        return RestoreReport(into.directory, snapshot.counts["objects"], size, seconds, bytes_read=size)

    def restore_to_bucket(self, snapshot: Snapshot, target: Reached, progress: Progress = silent) -> int:
        """Put a snapshot's objects into a bucket; see `Restoring.to_bucket`."""
        with self._restoring(snapshot, None, progress) as restoring:
            return restoring.to_bucket(target, WORKERS)

    def prune(self, plan: PrunePlan, progress: Progress) -> PruneReport:
        """See `Repository`. COMPLETE goes first, so that what is left of a snapshot is none."""
        began = time.monotonic()
        identity = self._identity()
        for snapshot in plan.removed:
            progress(Update("prune", message=f"removing {snapshot.key}"))
            self._objects().delete(f"{snapshot.key}/{COMPLETE}")
        for key in self._keys():
            if self._complete(key, identity) is None and self._may_go(key):
                self._remove(key)
        report = read_back_pruned(plan, self.snapshots())
        return PruneReport(report.removed, report.kept, time.monotonic() - began)

    def unlisted(self) -> Sequence[str]:
        """See `Repository`."""
        return self.listing().unlisted

    def listing(self) -> Listing:
        """See `Repository`."""
        identity = self._identity()
        found = [self._complete(key, identity) for key in self._keys()]
        whole = (self._snapshot(record) for record in found if isinstance(record, Complete))
        return Listing(
            sorted(whole, key=lambda item: (item.taken_at, item.snapshot_id)),
            [problem for problem in found if isinstance(problem, str)],
        )

    def health(self) -> Sequence[str]:
        """See `Repository`."""
        try:
            identity = self._identity()
            records = {key: self._complete(key, identity) for key in self._keys()}
        except RepositoryMissingError:
            return ()
        except HomelabError as error:
            return (f"the mirror cannot be asked: {error.message}",)
        begun = [key for key, record in records.items() if record is None]
        lines = [f"{key} was begun and never finished; pruning removes it" for key in begun]
        return [*lines, *(record for record in records.values() if isinstance(record, str))]

    def by_hand(self) -> ByHand:
        """See `Repository`."""
        place = self._place
        where = shlex.quote(f":s3:{place.bucket}/{place.prefix}")
        return ByHand(
            opening=(
                *access_commands(place, self._around.secrets, "RCLONE_CA_CERT"),
                "export RCLONE_S3_PROVIDER=Other RCLONE_S3_ENV_AUTH=true",
                f"export RCLONE_S3_ENDPOINT={shlex.quote(place.endpoint)} RCLONE_S3_REGION={shlex.quote(place.region)}",
            ),
            listing=f"rclone lsf --recursive --max-depth 2 --include '/*/{COMPLETE}' {where}",
            restoring=(f'rclone copy {where}/"$SNAPSHOT"/data ./restored',),
            named_by="key",
        )

    def _open_or_create(self, *, create: bool) -> str:
        try:
            return self._identity()
        except RepositoryMissingError as error:
            if self._keys():
                raise RepositoryVanishedError(
                    f"{self.location} holds snapshots, and not the object {REPOSITORY} that says whose they are",
                    remedy=f"bring {REPOSITORY} back, or move what is there away",
                ) from error
            if not create:
                raise RepositoryVanishedError(
                    f"{self.location} held snapshots of {self._policy.target} and is gone",
                    remedy="see where it went; if it is meant to start anew, run the backup with --new-repository",
                ) from error
        record = {"repository_id": secrets.token_hex(16), "target": self._policy.target}
        self._objects().write(REPOSITORY, self._seal().seal(record))
        return self._identity()

    def _identity(self) -> str:
        """The repository's id.

        Raises:
            RepositoryMissingError: there is none.
            WrongPasswordError: it is not authentic.
        """
        try:
            record = self._seal().unseal(self._objects().read(REPOSITORY))
        except KeyError:
            raise RepositoryMissingError(f"there is no repository at {self.location}") from None
        except ValueError as error:
            raise WrongPasswordError(
                f"{self.location}: {REPOSITORY} was written with another password, or edited: {error}",
                remedy=f"see destinations.{self._destination.name}.password",
            ) from error
        if record.get("target") != self._policy.target:
            raise WrongPasswordError(f"{self.location} is of {record.get('target')}")
        return str(record.get("repository_id"))

    def _keys(self) -> list[str]:
        """Snapshot keys by which there is a prefix, whole or not."""
        start = self._root().key("")
        found: list[str] = []
        try:
            for page in self._root().pages(start, "/"):
                found += [item["Prefix"][len(start) : -1] for item in page.get("CommonPrefixes", ())]
        except KeyError:
            return []
        return sorted(key for key in found if KEY_PATTERN.fullmatch(key))

    def _complete(self, key: str, identity: str) -> Complete | str | None:
        """What a prefix's COMPLETE says; what is wrong with it; or None where there is none."""
        try:
            sealed = self._objects().read(f"{key}/{COMPLETE}")
            record = Complete.model_validate_json(json.dumps(self._seal().unseal(sealed)))
        except KeyError:
            return None
        except ValueError:
            return f"{key}/{COMPLETE} is not authentic: it was edited, or written with another password"
        if (record.key, record.repository_id, record.target) != (key, identity, self._policy.target):
            return f"{key}/{COMPLETE} was written for {record.key} of another place"
        return record

    def _snapshot(self, record: Complete) -> Snapshot:
        return Snapshot(
            target=record.target,
            provider=MinioMirror.name,
            repository=self.location,
            repository_id=record.repository_id,
            snapshot_id=record.snapshot_id,
            taken_at=record.taken_at,
            size_bytes=record.bytes,
            counts={
                "objects": record.objects,
                "bytes": record.bytes,
                "changed": record.changed,
                "deleted": record.deleted,
                **({} if record.by_mc is None else {"by_mc": record.by_mc}),
            },
            run_id=record.run_id,
            finished_at=record.finished_at,
            description=record.description,
        )

    def _may_go(self, key: str) -> bool:
        """Whether a prefix without COMPLETE is left over, and not of a backup that another host is taking now."""
        if object_manifest.FILENAME in {name.rpartition("/")[2] for name in self._objects().names(key)}:
            return True  # its COMPLETE was taken away, or would have come at once
        began = datetime.strptime(f"{key[:15]}+0000", "%Y%m%dT%H%M%S%z")
        return self._around.now() - began > _ABANDONED

    def _remove(self, key: str) -> None:
        """The data, then the manifest: while that is there, it is known that the rest may go."""
        bucket = self._reached(key)
        for part in ("data/", "long/", "trial/", object_manifest.FILENAME):
            for _ in in_order(lambda item: _delete(bucket, item.key), bucket.listed(bucket.key(part))):
                pass
            if left := next(bucket.listed(bucket.key(part)), None):
                raise ToolLiedError(f"{bucket.place}: {left.key!r} was deleted and is still there")

    @contextmanager
    def _restoring(self, snapshot: Snapshot, scratch: Path | None, progress: Progress) -> Iterator[Restoring]:
        record = self._complete(snapshot.key, self._identity())
        if not isinstance(record, Complete):
            raise UnknownSnapshotError(record or f"{self._policy.target} has no snapshot {snapshot.key}")
        with tempfile.TemporaryDirectory(dir=scratch, prefix="homelab-") as private:
            yield Restoring(self._reached(snapshot.key), record, Path(private), progress)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        staging = private_directory(self._around.staging)
        try:
            with naming_a_full_disk(staging):
                empty_staging(staging)
                yield staging
        finally:
            empty_staging(staging)

    def _root(self) -> Reached:
        return reach(self._place, self._around.secrets)

    def _reached(self, key: str) -> Reached:
        return reach(self._place / key, self._around.secrets)

    def _objects(self) -> BucketObjects:
        return BucketObjects(self._place, self._around.secrets)

    def _seal(self) -> Seal:
        what = f"destinations.{self._destination.name}.password"
        return Seal(self._around.secrets.value(self._destination.password, what))


def _delete(bucket: Reached, key: str) -> None:
    """One by one: in the list that many are deleted by, not every key can be written."""
    bucket.ask(lambda: bucket.client.delete_object(Bucket=bucket.place.bucket, Key=key), key)
