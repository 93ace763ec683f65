"""Tools are found by one rule: HOMELAB_TOOLS and nowhere else, otherwise the first that is new enough."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backup_orchestration.core import tools
from backup_orchestration.core.errors import ToolMissingError
from backup_orchestration.core.tools import Requirement, find, unpack_directory

NEEDED = Requirement("duplo", (0, 17, 1), ("version",))


def install(directory: Path, does: str, name: str = "duplo") -> Path:
    """A program that prints a version, or does whatever the line of shell says."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    line = f"echo 'duplo {does} compiled with go1.24.4'" if does[0].isdigit() else does
    path.write_text(f'#!/bin/sh\n[ "$1" = version ] || exit 9\n{line}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def env(tmp_path):
    """An environment whose PATH is `first`, then `second`, and whose tools are unpacked in `data`."""
    path = os.pathsep.join([str(tmp_path / "first"), "", str(tmp_path / "second")])
    return {"PATH": path, "XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)}


def test_the_first_on_the_path_is_taken(env, tmp_path):
    first = install(tmp_path / "first", "0.18.0")
    install(tmp_path / "second", "0.19.0")
    found = find(NEEDED, env)
    assert (found.path, found.version, str(found)) == (first, (0, 18, 0), "duplo 0.18.0")


@pytest.mark.parametrize(
    "useless",
    ["0.17.0", "0.9.10", "exit 0", "echo duplo", "echo 'duplo 0.18.0'; exit 1", "kill -9 $$", "echo 18"],
    ids=["too-old", "older-than-it-looks", "silent", "no-version", "fails", "dies", "not-a-version"],
)
def test_what_is_too_old_or_lies_is_passed_over(env, tmp_path, useless):
    install(tmp_path / "first", useless)
    second = install(tmp_path / "second", "0.17.1")
    assert find(NEEDED, env).path == second


def test_a_directory_that_we_may_not_enter_is_passed_over(env, tmp_path, monkeypatch):
    """As the system answers there: `access` says no, and `stat` raises."""
    closed, second = install(tmp_path / "first", "0.18.0"), install(tmp_path / "second", "0.17.1")
    access, is_file = os.access, Path.is_file

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and access(path, mode))
    monkeypatch.setattr(Path, "is_file", lambda path: refused(path) if path == closed else is_file(path))
    assert find(NEEDED, env).path == second


@pytest.mark.parametrize("kind", ["directory", "not-executable", "no-program"])
def test_what_cannot_be_run_is_passed_over(env, tmp_path, kind):
    path = tmp_path / "first/duplo"
    if kind == "directory":
        path.mkdir(parents=True)
    else:
        install(tmp_path / "first", "0.18.0")
    if kind == "not-executable":
        path.chmod(0o644)
    if kind == "no-program":
        path.write_bytes(b"\0\1\2")
    second = install(tmp_path / "second", "0.18.0")
    assert find(NEEDED, env).path == second


def test_a_version_on_stderr_counts(env, tmp_path):
    install(tmp_path / "first", "echo 'duplo 0.18.0' >&2")
    assert find(NEEDED, env).version == (0, 18, 0)


def test_a_version_of_two_numbers_is_compared_as_such(env, tmp_path):
    install(tmp_path / "first", "0.18")
    assert find(NEEDED, env).version == (0, 18)


def test_what_set_up_unpacked_is_found_newest_name_first_and_after_the_path(env, tmp_path):
    unpacked = unpack_directory(env)
    assert unpacked == tmp_path / "data/homelab/tools"
    install(unpacked / "duplo-0.17.3", "0.17.3")
    newer = install(unpacked / "duplo-0.18.0", "0.18.0")
    install(unpacked / "other-0.19.0", "0.19.0")
    assert find(NEEDED, env).path == newer
    on_path = install(tmp_path / "second", "0.17.2")
    assert find(NEEDED, env).path == on_path


def test_without_xdg_the_home_directory_holds_what_was_unpacked(tmp_path):
    assert unpack_directory({"HOME": str(tmp_path)}) == tmp_path / ".local/share/homelab/tools"


def test_homelab_tools_is_the_only_place(env, tmp_path):
    install(tmp_path / "first", "0.18.0")
    install(unpack_directory(env) / "duplo-0.18.0", "0.18.0")
    only = tmp_path / "only"
    only.mkdir()
    with pytest.raises(ToolMissingError, match=f"none in HOMELAB_TOOLS={only}"):
        find(NEEDED, env | {"HOMELAB_TOOLS": str(only)})
    install(only, "0.17.0")
    with pytest.raises(ToolMissingError, match=r"only/duplo is 0\.17\.0"):
        find(NEEDED, env | {"HOMELAB_TOOLS": str(only)})
    mine = install(only, "0.17.9")
    assert find(NEEDED, env | {"HOMELAB_TOOLS": str(only)}).path == mine


def test_an_empty_homelab_tools_is_none(env, tmp_path):
    first = install(tmp_path / "first", "0.18.0")
    assert find(NEEDED, env | {"HOMELAB_TOOLS": ""}).path == first


def test_a_relative_directory_is_found_wherever_the_tool_is_started_from(env, tmp_path, monkeypatch):
    install(tmp_path / "only", "0.18.0")
    monkeypatch.chdir(tmp_path)
    assert find(NEEDED, env | {"HOMELAB_TOOLS": "only"}).path == tmp_path / "only/duplo"


def test_the_refusal_says_what_is_needed_what_was_seen_and_what_to_do(env, tmp_path):
    install(tmp_path / "first", "0.9.6")
    install(tmp_path / "second", "exit 0")
    with pytest.raises(ToolMissingError) as refused:
        find(NEEDED, env)
    said = str(refused.value)
    assert "duplo 0.17.1 or newer is needed" in said
    assert f"{tmp_path}/first/duplo is 0.9.6" in said
    assert f"{tmp_path}/second/duplo does not say its version" in said
    assert "homelab backup doctor" in said


def test_by_default_this_process_is_asked(monkeypatch, tmp_path):
    mine = install(tmp_path, "0.18.0")
    monkeypatch.setenv("HOMELAB_TOOLS", str(tmp_path))
    assert find(NEEDED).path == mine
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert tools.unpack_directory() == tmp_path / "homelab/tools"


def test_what_pip_installed_beside_the_interpreter_is_found_without_a_path(tmp_path, monkeypatch):
    """`.venv/bin/homelab` is called by its path; the tools that came with it are in the same folder."""
    beside = tmp_path / "venv" / "bin"
    beside.mkdir(parents=True)
    program = beside / "rclone"
    program.write_text("#!/bin/sh\necho rclone v1.75.2\n")
    program.chmod(0o755)
    monkeypatch.setattr(tools.sys, "executable", str(beside / "python"))
    needed = tools.Requirement("rclone", (1, 65), ("version",), r"rclone v(\d+\.\d+\.\d+)")
    assert tools.find(needed, {"PATH": "", "HOME": str(tmp_path)}).path == program


def test_a_version_is_asked_once_for_each_file(env, tmp_path):
    counted = f"echo x >>{tmp_path}/asked; echo 'duplo {{}}'"
    install(tmp_path / "first", counted.format("0.18.0"))
    assert [find(NEEDED, env).version for _ in range(3)] == [(0, 18, 0)] * 3
    install(tmp_path / "first", counted.format("0.19.0"))
    assert [find(NEEDED, env).version for _ in range(3)] == [(0, 19, 0)] * 3
    assert (tmp_path / "asked").read_text() == "x\nx\n"


def test_a_tool_that_did_not_answer_is_asked_again(env, tmp_path):
    install(tmp_path / "first", f"[ -e {tmp_path}/ready ] && echo 'duplo 0.18.0'")
    with pytest.raises(ToolMissingError, match="does not say its version"):
        find(NEEDED, env)
    (tmp_path / "ready").touch()
    assert find(NEEDED, env).version == (0, 18, 0)


@pytest.fixture
def family(tmp_path):
    """A tool that needs another program beside it, and that systems put below `opt/*/bin`."""
    places = (str(tmp_path / "opt/*/bin").lstrip("/"),)
    return Requirement("duplo", (0, 17, 1), ("version",), beside=("helper",), places=places)


def test_a_tool_whose_companions_lie_elsewhere_is_passed_over(env, tmp_path, family):
    alone = install(tmp_path / "first", "0.18.0")
    with pytest.raises(ToolMissingError, match=f"{alone} has no helper beside it"):
        find(family, env)
    whole = install(tmp_path / "second", "0.18.0")
    install(tmp_path / "second", "0.18.0", "helper")
    assert find(family, env).path == whole


def test_a_link_stands_for_what_it_points_to(env, tmp_path, family):
    install(tmp_path / "far", "0.18.0")
    install(tmp_path / "far", "0.18.0", "helper")
    (tmp_path / "first").mkdir()
    (tmp_path / "first/duplo").symlink_to(tmp_path / "far/duplo")
    assert find(family, env).path == tmp_path / "first/duplo"


def test_where_systems_put_it_is_looked_at_last(env, tmp_path, family):
    for version in ("0.17.2", "0.18.0"):
        for name in ("duplo", "helper"):
            install(tmp_path / "opt" / version / "bin", version, name)
    assert find(family, env).path == tmp_path / "opt/0.18.0/bin/duplo"
    assert [tool.version for tool in tools.all_of(family, env)] == [(0, 18, 0), (0, 17, 2)]
    unpacked = unpack_directory(env) / "duplo-0.17.1"
    for name in ("duplo", "helper"):
        install(unpacked, "0.17.1", name)
    assert find(family, env).path == unpacked / "duplo"
    with pytest.raises(ToolMissingError, match="none in HOMELAB_TOOLS"):
        find(family, env | {"HOMELAB_TOOLS": str(tmp_path)})
