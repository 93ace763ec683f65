"""Which system this is, where its packages come from, and what a person is told to run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_orchestration.core.errors import ToolInstallError
from backup_orchestration.toolbox import bundles, systems
from backup_orchestration.toolbox.bundles import bundle_for
from backup_orchestration.toolbox.install import install_command
from backup_orchestration.toolbox.systems import Suite, debian_suites

BOOKWORM = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}
TRIXIE = {"ID": "debian", "VERSION_ID": "13", "VERSION_CODENAME": "trixie"}

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
 bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

ONE_LINE = """\
# deb http://off.test/debian bookworm main
deb-src http://source.test/debian bookworm main
deb cdrom:[Debian]/ bookworm main
deb http://other.test/debian bookworm contrib
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://mirror.test/debian/ bookworm main contrib # ours
deb http://mirror.test/debian/ bookworm main
deb http://elsewhere.test/apt stable main
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Debian 12 and apt, and the directory of its apt sources, which are empty."""
    directory = tmp_path / "apt"
    (directory / "sources.list.d").mkdir(parents=True)
    monkeypatch.setattr(systems, "_APT", directory)
    monkeypatch.setattr(bundles.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    runs_on(monkeypatch, BOOKWORM)
    return directory


def runs_on(monkeypatch: pytest.MonkeyPatch, release: dict[str, str]) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr(systems.sys, "platform", "linux")


def test_the_release_its_security_and_its_updates_are_found_in_deb822_sources(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    assert debian_suites("bookworm") == [
        Suite("http://mirror.test/security", "bookworm-security"),
        Suite("http://mirror.test/debian", "bookworm"),
        Suite("http://mirror.test/debian", "bookworm-updates"),
    ]


def test_each_suite_is_found_once_in_one_line_sources(apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    assert debian_suites("bookworm") == [Suite("http://mirror.test/debian/", "bookworm")]


@pytest.mark.parametrize("codename", ["trixie", ""])
def test_no_mirror_is_an_error_that_names_the_place(apt: Path, codename: str) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    with pytest.raises(ToolInstallError, match=rf"no apt source under {apt} gives main of {codename}"):
        debian_suites(codename)


def test_security_alone_is_no_mirror_of_the_release(apt: Path) -> None:
    (apt / "sources.list").write_text("deb http://mirror.test/security bookworm-security main\n")
    with pytest.raises(ToolInstallError, match="gives main of bookworm"):
        debian_suites("bookworm")


def test_restic_of_debian_13_comes_from_the_mirror_of_debian_12(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    bundle = bundle_for("restic")
    assert bundle and bundle.suites() == [Suite("http://mirror.test/debian", "trixie")]


def test_postgres_comes_from_the_systems_own_release(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822.replace("bookworm", "trixie"))
    runs_on(monkeypatch, TRIXIE)
    bundle = bundle_for("postgres")
    assert bundle and bundle.packages == ("postgresql-17", "postgresql-client-17")
    assert [suite.name for suite in bundle.suites()] == ["trixie-security", "trixie", "trixie-updates"]


@pytest.mark.parametrize(
    ("release", "possible"),
    [
        (BOOKWORM, True),
        (TRIXIE, True),
        ({"ID": "debian", "VERSION_ID": "14", "VERSION_CODENAME": "forky"}, False),
        ({"ID": "debian"}, False),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_CODENAME": "noble", "VERSION_ID": "24.04"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("tool", ["restic", "postgres", "pgbackrest"])
def test_only_a_debian_that_is_known_can_unpack(
    apt: Path, monkeypatch: pytest.MonkeyPatch, release: dict[str, str], possible: bool, tool: str
) -> None:
    runs_on(monkeypatch, release)
    assert (bundle_for(tool) is not None) is possible


def test_what_is_no_bundle_is_not_unpacked(apt: Path) -> None:
    assert bundle_for("git") is None


def test_unpacking_needs_apt_and_dpkg(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles.shutil, "which", lambda tool: None if tool == "dpkg" else tool)
    assert bundle_for("restic") is None


@pytest.mark.parametrize(
    ("release", "tool", "command"),
    [
        (BOOKWORM, "restic", "homelab backup doctor --install"),
        (BOOKWORM, "postgres", "homelab backup doctor --install"),
        (BOOKWORM, "git", "apt-get install git"),
        ({"ID": "debian", "VERSION_ID": "14", "VERSION_CODENAME": "forky"}, "restic", "apt-get install restic"),
        ({"ID": "debian"}, "restic", "apt-get install restic"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "25.04"}, "restic", "apt-get install restic"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "24.04"}, "restic", "install restic with"),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "24.04"}, "postgres", "apt-get install postgresql"),
        ({"ID": "alpine", "VERSION_ID": "3.22"}, "restic", "apk add restic"),
        ({"ID": "alpine", "VERSION_ID": "3.22"}, "postgres", "apk add postgresql"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "restic", "dnf install restic"),
        ({"ID": "fedora"}, "postgres", "dnf install postgresql-server postgresql-contrib"),
        ({"ID": "manjaro", "ID_LIKE": "arch"}, "restic", "pacman -S restic"),
        ({"ID": "nixos"}, "restic", "install restic with the system's package manager"),
    ],
)
def test_each_system_has_its_install_command(
    apt: Path, monkeypatch: pytest.MonkeyPatch, release: dict[str, str], tool: str, command: str
) -> None:
    runs_on(monkeypatch, release)
    assert install_command(tool).startswith(command)


def test_macos_has_brew_and_no_release_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Iterator[str]:
        raise OSError("no /etc/os-release")

    monkeypatch.setattr(platform, "freedesktop_os_release", missing)
    monkeypatch.setattr(systems.sys, "platform", "darwin")
    assert install_command("restic") == "brew install restic"
    assert install_command("postgres") == "brew install postgresql"
    assert bundle_for("restic") is None
