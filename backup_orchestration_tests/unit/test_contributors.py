"""What the contributors for GitLab and its buckets declare, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_orchestration.contributors.gitlab import GitLab
from backup_orchestration.contributors.minio import Minio
from backup_orchestration.core.chains import chains_of
from backup_orchestration.core.policy import Retention
from backup_orchestration.core.secrets import SecretRef
from backup_orchestration.core.sources import Bucket, Postgres

KEYS = {"access_key": Path("/srv/keys/access"), "secret_key": Path("/srv/keys/secret")}
REFS = {name: SecretRef(file=path) for name, path in KEYS.items()}
LFS = Bucket(endpoint="https://s3.lab.example", bucket="gitlab-lfs", **REFS)
DATABASE = Postgres(data="/var/lib/postgresql/15/main")


def declared(*contributors):
    return {policy.target: policy for item in contributors for policy in item.policies()}


def gitlab(**more):
    return GitLab(Path("/etc/gitlab"), Path("/var/opt/gitlab/git-data"), **more)


def test_gitlab_is_one_application_of_database_repositories_and_objects():
    minio = Minio("https://s3.lab.example", **KEYS, gitlab="gitlab/repositories")
    found = declared(gitlab(database=DATABASE, lfs=LFS), minio)
    (chain,) = chains_of({target: policy.after for target, policy in found.items()})
    assert chain.name == "gitlab"
    assert chain.members == (
        "gitlab/postgres",
        "gitlab/repositories",
        "gitlab/lfs",
        "minio/gitlab-artifacts",
        "minio/gitlab-uploads",
    )
    assert len(found) == 9
    assert {policy.timezone for policy in found.values()} == {"UTC"}


def test_lfs_is_weekly_and_says_what_that_means():
    policy = declared(gitlab(lfs=LFS))["gitlab/lfs"]
    assert (policy.cron, policy.provider) == ("0 4 * * 0", "minio-mirror")
    assert policy.retention == Retention(keep_last=4, keep_daily=0, keep_weekly=4, keep_monthly=6)
    assert "up to a week old" in policy.description


def test_without_a_database_nothing_waits_for_one():
    assert declared(gitlab())["gitlab/repositories"].after is None
    assert {policy.after for policy in declared(Minio("https://s3.lab.example", **KEYS)).values()} == {None}


def test_boxes_are_staged_and_the_others_mirrored_and_no_secret_is_an_argument(tmp_path):
    found = declared(
        Minio("https://s3.lab.example", **KEYS, ca=Path("/srv/ca.pem"), buckets=["registry", "vagrant-boxes"])
    )
    assert {target: (policy.provider, policy.source.kind) for target, policy in found.items()} == {
        "minio/registry": ("minio-mirror", "bucket"),
        "minio/vagrant-boxes": ("restic", "export"),
    }
    command = found["minio/vagrant-boxes"].source.command
    assert command[1:] == (
        *("-m", "backup_orchestration.contributors.bucket_export", "https://s3.lab.example", "vagrant-boxes"),
        *("--access-key-file", "/srv/keys/access", "--secret-key-file", "/srv/keys/secret", "--ca", "/srv/ca.pem"),
    )


def test_a_bucket_that_it_does_not_know_is_named():
    with pytest.raises(ValueError, match=r"buckets: 'photos' is none of gitlab-artifacts"):
        Minio("https://s3.lab.example", **KEYS, buckets=["photos"])
