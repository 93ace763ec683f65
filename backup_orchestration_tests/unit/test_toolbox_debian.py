"""restic from Debian 13: where it is looked for, what failures say, and one real unpacking."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_orchestration.core.commands import Command, Completed
from backup_orchestration.core.commands import run as run_command
from backup_orchestration.core.errors import CommandTimeoutError, ToolInstallError
from backup_orchestration.toolbox import debian

BOOKWORM = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}

DEB822 = """\
# the image's own
Types: deb
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://off.test/debian
Suites: bookworm
Components: main

types: deb deb-src
# in the midst of a stanza
URIs: http://mirror.test/debian
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

ONE_LINE = """\
# deb http://off.test/debian bookworm main
deb-src http://source.test/debian bookworm main
deb cdrom:[Debian]/ bookworm main
deb http://other.test/debian bookworm contrib
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://mirror.test/debian/ bookworm main contrib # ours
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Debian 12, apt and nothing to download from yet."""
    directory = tmp_path / "apt"
    (directory / "sources.list.d").mkdir(parents=True)
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(debian, "_APT", directory)
    monkeypatch.setattr(debian, "_KEYRING", keyring)
    monkeypatch.setattr(debian.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    runs_on(monkeypatch, BOOKWORM)
    return directory


@pytest.fixture
def mirror(apt: Path) -> Path:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    return apt


def runs_on(monkeypatch: pytest.MonkeyPatch, release: dict[str, str]) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr(debian.sys, "platform", "linux")


class FakeApt:
    """Stands in for the commands: makes the files that apt-get and dpkg would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: str = "", stderr: str = "") -> None:
        self.commands: list[Command] = []
        self.sources = ""
        self._failing = failing
        self._stderr = stderr
        monkeypatch.setattr(debian, "run", self)

    def __call__(self, command: Command) -> Completed:
        self.commands.append(command)
        work = command.cwd
        assert work is not None
        self.sources = (work / "sources.list").read_text()
        if self._failing in command.argv:
            return Completed(command.name, 100, "", self._stderr)
        if "download" in command.argv:
            (work / "restic_0.18.0-1_amd64.deb").touch()
        if command.name == "dpkg":
            binary = work / "package/usr/bin/restic"
            binary.parent.mkdir(parents=True)
            binary.write_text("restic itself")
        return Completed(command.name, 0, "", "")


def test_the_mirror_is_found_in_deb822_sources(mirror: Path) -> None:
    assert debian.debian_mirror(mirror, "bookworm") == "http://mirror.test/debian"


def test_the_mirror_is_found_in_one_line_sources(apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    assert debian.debian_mirror(apt, "bookworm") == "http://mirror.test/debian/"


@pytest.mark.parametrize("codename", ["trixie", ""])
def test_no_mirror_is_an_error_that_names_the_place(mirror: Path, codename: str) -> None:
    with pytest.raises(ToolInstallError, match=r"no apt source under .*apt gives main"):
        debian.debian_mirror(mirror, codename)


def test_unpacking_places_one_whole_binary(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeApt(monkeypatch)
    said: list[str] = []
    path = debian.unpack_restic(tmp_path / "tools", said.append)
    assert path == tmp_path / "tools/restic-0.18.0/restic"
    assert path.read_text() == "restic itself"
    assert path.stat().st_mode & 0o777 == 0o755
    assert [item.name for item in path.parent.iterdir()] == ["restic"]
    assert f"signed-by={debian._KEYRING}" in fake.sources
    assert "http://mirror.test/debian trixie main" in fake.sources
    assert [command.argv[0] for command in fake.commands] == ["apt-get", "apt-get", "dpkg"]
    assert said[-1].endswith(str(path))


def test_what_is_unpacked_already_is_kept(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeApt(monkeypatch)
    debian.unpack_restic(tmp_path / "tools", print)
    before = len(fake.commands)
    debian.unpack_restic(tmp_path / "tools", print)
    assert len(fake.commands) == before


@pytest.mark.parametrize(
    ("failing", "stderr", "message"),
    [
        (
            "update",
            "E: Failed to fetch x\nE: later",
            "apt-get ended with exit code 100: E: Failed to fetch x",
        ),
        ("update", "W: GPG error: NO_PUBKEY 0123", "lacks the key that signs Debian trixie"),
        ("download", "E: Version '0.18.0*' for 'restic' was not found", "Version .* was not found"),
        ("-x", "dpkg-deb: error: no room", "dpkg ended with exit code 100: dpkg-deb: error: no room"),
    ],
)
def test_a_failing_command_is_told_with_its_own_words(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, stderr: str, message: str
) -> None:
    FakeApt(monkeypatch, failing, stderr)
    with pytest.raises(ToolInstallError, match=message) as caught:
        debian.unpack_restic(tmp_path / "tools", print)
    assert caught.value.remedy
    assert not (tmp_path / "tools/restic-0.18.0/restic").exists()


def test_a_command_that_hangs_is_an_install_error(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(command: Command) -> Completed:
        raise CommandTimeoutError("apt-get did not end within 600 s")

    monkeypatch.setattr(debian, "run", hang)
    with pytest.raises(ToolInstallError, match="did not end") as caught:
        debian.unpack_restic(tmp_path / "tools", print)
    assert "network" in caught.value.remedy


def test_a_missing_keyring_is_named(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debian._KEYRING.unlink()
    with pytest.raises(ToolInstallError, match=r"keyring\.gpg is missing"):
        debian.unpack_restic(tmp_path / "tools", print)


def test_a_download_that_brings_nothing_is_an_error(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "run", lambda command: Completed(command.name, 0, "", ""))
    with pytest.raises(ToolInstallError, match="no restic package"):
        debian.unpack_restic(tmp_path / "tools", print)


def test_a_place_that_cannot_be_written_is_named(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeApt(monkeypatch)
    (tmp_path / "tools").write_text("a file, where a directory is needed")
    with pytest.raises(ToolInstallError, match=r"cannot be unpacked to .*/tools/"):
        debian.unpack_restic(tmp_path / "tools", print)


def test_another_system_is_told_its_own_command(apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on(monkeypatch, {"ID": "fedora", "VERSION_ID": "43"})
    with pytest.raises(ToolInstallError, match="not a Debian") as caught:
        debian.unpack_restic(tmp_path / "tools", print)
    assert caught.value.remedy == "run: dnf install restic"


@pytest.mark.parametrize(
    ("release", "possible"),
    [
        (BOOKWORM, True),
        ({"ID": "debian", "VERSION_ID": "13"}, False),
        ({"ID": "debian"}, False),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "10.04"}, False),
        ({}, False),
    ],
)
def test_only_an_older_debian_can_unpack(
    apt: Path, monkeypatch: pytest.MonkeyPatch, release: dict[str, str], possible: bool
) -> None:
    runs_on(monkeypatch, release)
    assert debian.can_unpack() is possible


def test_unpacking_needs_apt_and_dpkg(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian.shutil, "which", lambda tool: None if tool == "dpkg" else tool)
    assert not debian.can_unpack()


@pytest.mark.parametrize(
    ("release", "tool", "command"),
    [
        (BOOKWORM, "restic", "homelab backup doctor --install"),
        (BOOKWORM, "sqlite3", "apt-get install sqlite3"),
        ({"ID": "debian", "VERSION_ID": "13"}, "restic", "apt-get install restic"),
        ({"ID": "debian"}, "restic", "apt-get install restic"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "25.04"}, "restic", "apt-get install restic"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "24.04"}, "restic", "install restic with"),
        ({"ID": "alpine", "VERSION_ID": "3.22"}, "restic", "apk add restic"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "restic", "dnf install restic"),
        ({"ID": "manjaro", "ID_LIKE": "arch"}, "restic", "pacman -S restic"),
        ({"ID": "nixos"}, "restic", "install restic with the system's package manager"),
    ],
)
def test_each_system_has_its_install_command(
    apt: Path, monkeypatch: pytest.MonkeyPatch, release: dict[str, str], tool: str, command: str
) -> None:
    runs_on(monkeypatch, release)
    assert debian.install_command(tool).startswith(command)


def test_macos_has_brew_and_no_release_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Iterator[str]:
        raise OSError("no /etc/os-release")

    monkeypatch.setattr(platform, "freedesktop_os_release", missing)
    monkeypatch.setattr(debian.sys, "platform", "darwin")
    assert debian.install_command("restic") == "brew install restic"
    assert not debian.can_unpack()


@pytest.mark.tools
@pytest.mark.skipif(not debian.can_unpack(), reason="needs a Debian older than 13 with apt-get")
def test_the_real_restic_is_unpacked_and_starts(tmp_path: Path) -> None:
    path = debian.unpack_restic(tmp_path, print)
    version = run_command(Command((str(path), "version"), timeout=20))
    assert version.stdout.startswith("restic 0.18.0 ")
