"""The lab's own parts: its ports, and the place of its socket."""

from __future__ import annotations

import json
import socket

import pytest

from backup_orchestration.core.errors import HomelabError
from backup_orchestration.devlab import lab, parts, postgres
from backup_orchestration.devlab.paths import DevlabPaths


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr(postgres, "_SOCKETS", tmp_path)
    return DevlabPaths(tmp_path / "home")


def test_a_lab_of_an_older_version_keeps_its_ports_and_gets_those_it_lacks(paths):
    paths.home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    (paths.home / "ports.json").write_text(json.dumps({"store": free}))
    ports = lab._ports(paths)
    assert ports["store"] == free
    assert set(ports) == set(parts.PORTS)
    assert len(set(ports.values())) == len(ports)
    assert lab._ports(paths) == ports


def test_ports_that_somebody_else_has_taken_are_given_up(paths):
    paths.home.mkdir()
    ports = lab._ports(paths)
    with socket.create_server(("127.0.0.1", ports["ui"])):
        assert lab._ports(paths)["ui"] != ports["ui"]


@pytest.mark.parametrize("how", ["a link", "open to others", "a file"])
def test_a_socket_directory_that_is_not_ours_alone_is_refused(paths, tmp_path, how):
    place = postgres.socket(paths)
    if how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    elif how == "a file":
        place.write_text("")
    else:
        place.mkdir()
        place.chmod(0o755)
    with pytest.raises(HomelabError, match="is not ours alone"):
        postgres.command(paths, {})


def test_two_labs_have_two_sockets(paths, tmp_path):
    assert postgres.socket(paths) != postgres.socket(DevlabPaths(tmp_path / "other"))
    assert len(str(postgres.socket(paths).relative_to(tmp_path))) < 40
