"""Buckets mirrored, on moto's server: what comes back is what was there."""

import pytest

from backup_orchestration.core.errors import SourceError
from backup_orchestration.stores.bucket import Reached
from backup_orchestration_tests.mirrors import MirrorSite, odd_objects


@pytest.fixture
def mirror(tmp_path, moto):
    return MirrorSite(tmp_path, moto.url)


@pytest.mark.parametrize("way", ["on the server", "through here"])
def test_everything_comes_back(tmp_path, moto, small_parts, way):
    mirror = MirrorSite(tmp_path, moto.url)
    odd_objects(mirror)
    if way == "through here":
        # Another name of the same server is another endpoint.
        mirror.configure(source_url=moto.url.replace("127.0.0.1", "localhost"))
    snapshot = mirror.backup()
    evidence = mirror.restore_test()
    assert evidence.passed, evidence.reason
    before = mirror.everything(mirror.client, mirror.source)
    assert evidence.counts["objects"] == len(before) == snapshot.counts["objects"]
    mirror.client.create_bucket(Bucket=f"{mirror.source}-back")
    place = mirror.homelab.policy("app/files").source.place("x")
    target = Reached(type(place)(**{**vars(place), "bucket": f"{mirror.source}-back"}), mirror.client)
    assert mirror.repository.restore_to_bucket(snapshot, target) == len(before)
    after = mirror.everything(mirror.client, f"{mirror.source}-back")

    assert after == before


def test_nothing_to_copy_is_refused(mirror):
    with pytest.raises(SourceError, match="empty"):
        mirror.backup()
