"""What is damaged in a repository turns the restore red; what `verify` and `info` say of it stands beside."""

from __future__ import annotations

import json

import pytest

from backup_orchestration.core.errors import RestoreFailedError
from backup_orchestration.providers._pgbackrest_cli import PgBackRestCli

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("pgbackrest"), pytest.mark.xdist_group("postgres")]


def remove_file(site, snapshot):
    """A file that is big enough to be stored by itself."""
    next(stored(site, snapshot).rglob("pg_data/base/**/*.zst")).unlink()


def flip_in_bundle(site, snapshot):
    flip(stored(site, snapshot) / "bundle" / "1")


def delete_stop_segment(site, snapshot):
    segment(site, snapshot).unlink()


def flip_in_stop_segment(site, snapshot):
    flip(segment(site, snapshot))


def swap_stop_segment(site, snapshot):
    """Whole, decrypted by the right key, and another."""
    found = segment(site, snapshot)
    other = next(path for path in found.parent.glob("*.zst") if path.name[:24] < found.name[:24])
    found.chmod(0o600)
    found.write_bytes(other.read_bytes())


def stored(site, snapshot):
    return site.files / "backup" / "shop-db" / snapshot.snapshot_id


def segment(site, snapshot):
    with site.repository._cli() as cli:
        (item,) = [item for item in cli.info()["backup"] if item["label"] == snapshot.snapshot_id]
    (found,) = (site.files / "archive").rglob(f"{item['archive']['stop']}-*")
    return found


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("what", "damage", "in_full", "why"),
    [
        ("removed repository file", remove_file, False, "[055]"),
        ("flipped byte in a bundle", flip_in_bundle, False, "pgBackRest could not restore"),
        ("deleted stop WAL segment", delete_stop_segment, False, "is not in the archive"),
        ("flipped byte in the stop WAL segment", flip_in_stop_segment, False, "in the archive"),
        ("another segment as the stop WAL segment", swap_stop_segment, False, "does not match its checksum"),
        ("damaged full under an intact incremental", flip_in_bundle, True, "pgBackRest could not restore"),
    ],
)
def test_a_damaged_repository_does_not_restore(pg_copy, matrix, what, damage, in_full, why):
    site, full, incremental = pg_copy
    tested = incremental if in_full else full
    damage(site, full)
    with pytest.raises(RestoreFailedError) as refused:
        site.restore(tested)
    assert why in refused.value.message
    assert not (site.root / "lab" / "pgbackrest").exists()
    with site.repository._cli() as cli:
        matrix("pgBackRest repositories", what, *words(cli, tested), "restore: failed")


def words(cli: PgBackRestCli, snapshot) -> tuple[str, str]:
    """What pgBackRest's own commands say of a backup set."""
    verified = cli.query("verify", "--output=text", "--verbose").stdout
    (line,) = [line for line in verified.splitlines() if f" {snapshot.snapshot_id}," in line]
    status = json.loads(cli.query("info", "--output=json").stdout)[0]["status"]["message"]
    return f"verify: {line.partition('status: ')[2].partition(',')[0]}", f"info: {status}"
