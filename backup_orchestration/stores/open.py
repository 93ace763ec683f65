"""The store of a place."""

from __future__ import annotations

from backup_orchestration.core.objects import Objects
from backup_orchestration.core.places import Directory, Place
from backup_orchestration.core.secrets import Secrets
from backup_orchestration.stores.directory import DirectoryObjects


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
