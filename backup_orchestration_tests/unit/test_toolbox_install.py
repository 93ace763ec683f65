"""Unpacking tools beside the system: what apt is asked, what is put where, what failures say; once for real."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from backup_orchestration.core import tools
from backup_orchestration.core.commands import Command, Completed
from backup_orchestration.core.commands import run as run_command
from backup_orchestration.core.errors import CommandTimeoutError, ToolInstallError
from backup_orchestration.core.locks import repository_lock
from backup_orchestration.core.postgres import POSTGRES, find_programs
from backup_orchestration.devlab.needs import PGBACKREST
from backup_orchestration.providers.restic import RESTIC
from backup_orchestration.toolbox import apt, bundles, install
from backup_orchestration.toolbox.install import install_missing, unpack
from backup_orchestration.toolbox.systems import Suite

BIN = "usr/lib/postgresql/15/bin"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
# What each package holds; a program prints its version, its first argument and where it looks for libraries.
PROGRAM = '#!/bin/sh\necho "{name} {version} $1 in $LD_LIBRARY_PATH"\n'
POSTGRES_NAMES = ("postgres", *POSTGRES.beside)
PACKAGES = {
    "restic_0.18.0-1+b4_amd64.deb": {"usr/bin/restic": PROGRAM.format(name="restic", version="0.18.0")},
    "postgresql-15_15.18-0+deb12u1_amd64.deb": {
        **{f"{BIN}/{name}": PROGRAM.format(name=name, version="15.18") for name in POSTGRES_NAMES},
        "usr/lib/postgresql/15/lib/llvmjit.so": "needs LLVM",
        "usr/lib/postgresql/15/lib/bitcode/postgres.bc": "needs LLVM",
        "usr/lib/postgresql/15/lib/amcheck.so": "a module",
    },
    "postgresql-client-15_15.18-0+deb12u1_amd64.deb": {},
    "libicu72_72.1-3_amd64.deb": {f"{LIBRARIES}/libicuuc.so.72": "a library"},
    "pgbackrest_2.45-1_amd64.deb": {"usr/bin/pgbackrest": PROGRAM.format(name="pgBackRest", version="2.45")},
}

STATUS = """\
Package: libc6
Status: install ok installed
Version: 2.36

Package: postgresql-client-15
Status: install ok installed
Version: 15.17

Package: locales
Status: deinstall ok config-files
Version: 2.36

Package: ssl-cert
Status: install ok installed
Version: 1.1
"""


class FakeApt:
    """Stands in for apt-get and dpkg: makes the files that they would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: str = "", stderr: str = "") -> None:
        self.asked: list[list[str]] = []
        self.sources: list[str] = []
        self.status = ""
        self.packages = PACKAGES
        self._failing = failing
        self._stderr = stderr
        monkeypatch.setattr(apt, "run", self)

    def __call__(self, command: Command) -> Completed:
        work = command.cwd
        assert work is not None
        self.asked.append([item for item in command.argv if item not in ("-q", "-c", str(work / "apt.conf"))])
        if self._failing in command.argv:
            return Completed(command.name, 100, "", self._stderr)
        if "update" in command.argv:
            self.sources.append((work / "sources.list").read_text())
        elif "install" in command.argv:
            self.status = (work / "status").read_text()
            wanted = [name.partition("=")[0] for name in command.argv]
            wanted += [] if "restic" in wanted else ["libicu72"]
            for file in self.packages:
                if file.partition("_")[0] in wanted:
                    (work / "cache" / "archives" / file).touch()
        elif command.name == "dpkg":
            package, into = map(Path, command.argv[2:])
            for name, text in self.packages[package.name].items():
                path = into / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                path.chmod(0o755)
        return Completed(command.name, 0, "", "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Debian 12 without any tool; returns the directory that set-up unpacks into."""
    release = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}
    monkeypatch.setattr(bundles, "os_release", lambda: release)
    monkeypatch.setattr(bundles.shutil, "which", lambda tool, **_: f"/usr/bin/{tool}")
    monkeypatch.setattr(bundles, "debian_suites", lambda codename: [Suite("http://mirror.test/debian", codename)])
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(apt, "_KEYRING", keyring)
    status = tmp_path / "status"
    status.write_text(STATUS)
    monkeypatch.setattr(apt, "_STATUS", status)
    monkeypatch.delenv("HOMELAB_TOOLS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(tools.sys, "executable", str(tmp_path / "nothing" / "python"))
    return tools.unpack_directory()


# Without the places that this machine's own package would be found in.
BARE_POSTGRES = tools.Requirement("postgres", (14,), (), r"postgres (\d+\.\d+)", POSTGRES.beside)
BARE_PGBACKREST = tools.Requirement("pgbackrest", (2, 45), ("version",), PGBACKREST.version_pattern)


def test_a_tool_without_libraries_of_its_own_is_linked(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeApt(monkeypatch)
    said: list[str] = []
    install_missing([RESTIC], said.append)
    found = tools.find(RESTIC)
    assert found.path == machine / "restic-0.18.0/restic"
    assert found.path.resolve() == machine / "restic-0.18.0/root/usr/bin/restic"
    assert fake.asked[:2] == [
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--download-only", "restic=0.18.0*"],
    ]
    assert f"signed-by={apt._KEYRING}" in fake.sources[0] and "http://mirror.test/debian trixie main" in fake.sources[0]
    assert said[-1] == f"unpacked {found.path}"


def test_a_tool_with_libraries_finds_them_and_passes_its_arguments_on(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeApt(monkeypatch)
    install_missing([BARE_POSTGRES], print)
    found = tools.find(BARE_POSTGRES)
    assert found.path == machine / "postgres-15.18/postgres"
    libraries = machine / "postgres-15.18/root" / LIBRARIES
    assert (libraries / "libicuuc.so.72").is_file()
    done = run_command(Command([str(found.path), "two words"], 20))
    assert done.stdout == f"postgres 15.18 two words in {libraries}"
    mine = run_command(Command([str(found.path), "x"], 20, {"LD_LIBRARY_PATH": "/mine"}))
    assert mine.stdout.endswith(f" in {libraries}:/mine")


def test_every_program_of_postgres_lies_beside_it_and_what_needs_llvm_is_gone(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeApt(monkeypatch)
    install_missing([BARE_POSTGRES], print)
    place = machine / "postgres-15.18"
    assert {path.name for path in place.iterdir()} == {*POSTGRES_NAMES, "root"}
    assert [path.name for path in (place / "root/usr/lib/postgresql/15/lib").iterdir()] == ["amcheck.so"]


def test_apt_is_told_what_is_left_out_and_gives_what_is_installed_again(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeApt(monkeypatch)
    install_missing([BARE_POSTGRES], print)
    stanzas = {line.split()[1]: part for part in fake.status.split("\n\n") for line in part.splitlines()[:1]}
    assert "postgresql-client-15" not in stanzas
    assert "Version: 2.36" in stanzas["libc6"]
    assert "Version: 1.1" in stanzas["ssl-cert"], "what is installed stays what it is"
    assert all("Version: 999:1" in stanzas[name] for name in ("locales", "libllvm14", "postgresql-common"))
    assert [fake.status.count(f"Package: {name}\n") for name in ("locales", "ssl-cert")] == [1, 1]


def test_one_package_list_serves_the_tools_of_one_release(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeApt(monkeypatch)
    install_missing([BARE_PGBACKREST, BARE_POSTGRES, RESTIC], print)
    assert [source.split()[-2] for source in fake.sources] == ["bookworm", "trixie"]
    assert not (machine / "postgres-15.18/root/usr/bin").exists(), "what was downloaded for another tool stays there"
    assert tools.find(BARE_PGBACKREST).version == (2, 45)


def test_what_is_there_is_kept_and_asks_nobody(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeApt(monkeypatch)
    install_missing([RESTIC], print)
    before = len(fake.asked)
    install_missing([RESTIC], print)
    assert len(fake.asked) == before


def test_what_does_not_work_any_more_is_replaced(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeApt(monkeypatch)
    install_missing([BARE_POSTGRES], print)
    (machine / "postgres-15.18" / "psql").unlink()
    install_missing([BARE_POSTGRES], print)
    assert tools.find(BARE_POSTGRES).version == (15, 18)


def test_homelab_tools_is_left_alone(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeApt(monkeypatch)
    monkeypatch.setenv("HOMELAB_TOOLS", str(machine))
    install_missing([RESTIC], print)
    assert not fake.asked and not machine.exists()


def test_another_system_is_left_alone(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeApt(monkeypatch)
    monkeypatch.setattr(bundles, "os_release", lambda: {"ID": "fedora"})
    install_missing([RESTIC], print)
    assert not fake.asked


def test_a_set_up_that_was_killed_leaves_nothing_behind_for_long(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeApt(monkeypatch)
    leftover = machine / ".unpacking-x1y2" / "apt0"
    leftover.mkdir(parents=True)
    install_missing([RESTIC], print)
    assert {path.name for path in machine.iterdir() if path.suffix != ".lock"} == {"restic-0.18.0"}


def test_two_set_ups_at_once_unpack_once(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and then finds everything there."""
    fake = FakeApt(monkeypatch)
    said: list[str] = []
    second = Thread(target=install_missing, args=([RESTIC], said.append))
    with repository_lock(machine, "set-up", timeout=0):
        second.start()
        while "waiting for another set-up" not in said:
            assert second.is_alive()
        unpack([RESTIC], machine, print)
        asked = len(fake.asked)
    second.join(timeout=60)
    assert not second.is_alive() and len(fake.asked) == asked
    assert tools.find(RESTIC).path.parent == machine / "restic-0.18.0"


@pytest.mark.parametrize(
    ("failing", "stderr", "message"),
    [
        ("update", "E: Failed to fetch x\nE: later", "apt-get ended with exit code 100: E: Failed to fetch x"),
        ("update", "W: GPG error: NO_PUBKEY 0123", "lacks the key that signs Debian trixie"),
        ("install", "E: Version '0.18.0*' for 'restic' was not found", "Version .* was not found"),
        ("-x", "dpkg-deb: error: no room", "dpkg ended with exit code 100: dpkg-deb: error: no room"),
    ],
)
def test_a_failing_command_is_told_with_its_own_words(
    machine: Path, monkeypatch: pytest.MonkeyPatch, failing: str, stderr: str, message: str
) -> None:
    FakeApt(monkeypatch, failing, stderr)
    with pytest.raises(ToolInstallError, match=message) as caught:
        install_missing([RESTIC], print)
    assert caught.value.remedy
    assert [path.suffix for path in machine.iterdir()] == [".lock"]


def test_a_command_that_hangs_is_an_install_error(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: Command) -> Completed:
        raise CommandTimeoutError("apt-get did not end within 600 s")

    monkeypatch.setattr(apt, "run", hang)
    with pytest.raises(ToolInstallError, match="did not end") as caught:
        install_missing([RESTIC], print)
    assert "network" in caught.value.remedy


def test_a_missing_keyring_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeApt(monkeypatch)
    apt._KEYRING.unlink()
    with pytest.raises(ToolInstallError, match=r"keyring\.gpg is missing"):
        install_missing([RESTIC], print)


def test_a_download_that_brings_nothing_is_an_error(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "run", lambda command: Completed(command.name, 0, "", ""))
    with pytest.raises(ToolInstallError, match="downloaded no package restic"):
        install_missing([RESTIC], print)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("#!/bin/sh\necho 'libx.so.1: cannot open' >&2\nexit 127\n", "libx.so.1: cannot open"),
        ("\0", "cannot be started"),
    ],
)
def test_what_does_not_start_is_not_put_in_place(
    machine: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    fake = FakeApt(monkeypatch)
    fake.packages = PACKAGES | {"restic_0.18.0-1+b4_amd64.deb": {"usr/bin/restic": program}}
    with pytest.raises(ToolInstallError, match=reason) as caught:
        install_missing([RESTIC], print)
    assert "restic" in caught.value.remedy
    assert not (machine / "restic-0.18.0").exists()


def test_a_place_that_cannot_be_written_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeApt(monkeypatch)
    machine.parent.mkdir(parents=True)
    machine.write_text("a file, where a directory is needed")
    with pytest.raises(ToolInstallError, match=f"cannot be unpacked to {machine}") as caught:
        install_missing([RESTIC], print)
    assert "make room" in caught.value.remedy


@pytest.mark.tools
@pytest.mark.skipif(not install.bundle_for("postgres"), reason="needs a Debian that has bundles, with apt-get")
def test_the_real_ones_are_unpacked_and_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into = tmp_path / "homelab" / "tools"
    into.mkdir(parents=True)
    unpack([POSTGRES, PGBACKREST, RESTIC], into, print)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("HOMELAB_TOOLS", raising=False)
    env = {"PATH": "", "XDG_DATA_HOME": str(tmp_path)}
    assert tools.find(RESTIC, env).version == (0, 18, 0)
    pgbackrest = tools.find(PGBACKREST, env)
    assert pgbackrest.path.is_relative_to(into)
    (postgres,) = into.glob("postgres-*")
    programs = find_programs(environment={"HOMELAB_TOOLS": str(postgres)})
    assert programs.directory == postgres
    data = tmp_path / "data"
    for name in POSTGRES_NAMES:
        done = run_command(Command([programs.path(name), "--version"], 20))
        assert done.returncode == 0 and f" {programs.version[0]}." in done.stdout, done
    done = run_command(Command([programs.path("initdb"), "-D", str(data), "--no-locale"], 120, user=os.geteuid()))
    assert done.returncode == 0 and (data / "PG_VERSION").read_text().strip() == str(programs.major), done
