"""The store of a place."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from backup_orchestration.core.objects import Objects
from backup_orchestration.core.places import Bucket, Directory, Place
from backup_orchestration.core.secrets import Secrets
from backup_orchestration.stores.directory import DirectoryObjects


def import_stores(places: Iterable[Place]) -> None:
    """Import what opening these places takes: in workers that are forked afterwards it is there."""
    if any(isinstance(place, Bucket) for place in places):
        import_module(f"{__package__}.bucket")


def open_store(place: Place, secrets: Secrets) -> Objects:
    """Open a place. A bucket's keys are resolved now; nothing is asked of its endpoint yet.

    Raises:
        SecretError: a key is missing.
    """
    if isinstance(place, Directory):
        return DirectoryObjects(place.path)
    # boto3 takes a third of a second to import, which those with directories need not wait for.
    from backup_orchestration.stores.bucket import BucketObjects

    return BucketObjects(place, secrets)
