#!/usr/bin/env python3
"""Print the path of a usable uv, and fetch the pinned one where there is none.

Standard library only: a bare machine has neither pip nor venv, and uv replaces both.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import io
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import zipfile
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import Request, urlopen

VERSION = "0.13.9"
DEFAULT_INDEX = "https://pypi.org/simple"  # the default of pip and of uv

# (system, machine) of the wheel's tag, and its sha256 as the index gives it.
WHEELS = {
    ("manylinux", "x86_64"): (
        "manylinux_2_17_x86_64.manylinux2014_x86_64",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    ("manylinux", "aarch64"): (
        "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    ),
    ("musllinux", "x86_64"): (
        "musllinux_1_1_x86_64",
        "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
    ),
    ("musllinux", "aarch64"): (
        "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    ),
    ("macosx", "x86_64"): (
        "macosx_10_12_x86_64",
        "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
    ),
    ("macosx", "arm64"): (
        "macosx_11_0_arm64",
        "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
    ),
}


class GetUvError(Exception):
    """What failed, and what the reader can do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n  remedy: {remedy}")


def say(text: str) -> None:
    print(f"get_uv: {text}", file=sys.stderr)


def home_bin() -> Path:
    return Path.home() / ".local" / "bin"


def find_uv() -> Path | None:
    """Find a uv of the pinned minor line or newer, on PATH or where an earlier run put it."""
    for directory in [*os.get_exec_path(), str(home_bin())]:
        found = shutil.which("uv", path=directory)
        if found and (version := version_of(found)) and version[:2] >= parts(VERSION)[:2]:
            return Path(found).absolute()
        if found:
            say(f"{found} is older than {VERSION} or does not start: passing over it")
    return None


def version_of(uv: str) -> tuple[int, ...] | None:
    try:
        result = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"uv (\d+(?:\.\d+)+)", result.stdout)
    return parts(match[1]) if match else None


def parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def wheel() -> tuple[str, str]:
    """Return this platform's wheel name and sha256."""
    if sys.platform == "linux":
        system = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    else:
        system = {"darwin": "macosx"}.get(sys.platform, sys.platform)
    machine = platform.machine()
    if (system, machine) not in WHEELS:
        raise GetUvError(
            f"no uv wheel is pinned for {system} on {machine}",
            f"install uv {VERSION} or newer yourself, put it on PATH and try again",
        )
    tag, sha256 = WHEELS[system, machine]
    return f"uv-{VERSION}-py3-none-{tag}.whl", sha256


def index_url() -> str:
    """Return the package index that pip or uv are set up for here, else their own default."""
    url = os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_DEFAULT_INDEX") or pip_config("index-url")
    # uv's variable may be written NAME=URL
    return re.sub(r"^[\w.-]+=(?=https?:)", "", url or DEFAULT_INDEX).rstrip("/")


def pip_config(key: str) -> str | None:
    """Read one of pip's global settings, from the files pip reads, the last one winning."""
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    support = Path.home() / "Library" / "Application Support"
    files = [Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", config_home / "pip/pip.conf"]
    files += [support / "pip/pip.conf", Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull)]
    config = configparser.RawConfigParser()
    try:
        config.read(files)
    except configparser.Error as error:
        say(f"passing over pip's configuration: {error}")
    return config.get("global", key, fallback=None)


def get(url: str, accept: str = "*/*") -> tuple[bytes, str]:
    """Fetch a URL and return its body and media type."""
    address = urlsplit(url)
    headers = {"Accept": accept, "User-Agent": f"get_uv/{VERSION}"}
    if address.username is not None:
        login = f"{unquote(address.username)}:{unquote(address.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        url = urlunsplit(address._replace(netloc=address.netloc.rpartition("@")[2]))
    for attempt in (1, 2, 3):
        try:
            # The default context honours SSL_CERT_FILE and SSL_CERT_DIR, so a private CA works.
            context = ssl.create_default_context()
            with urlopen(Request(url, headers=headers), timeout=60, context=context) as answer:
                return answer.read(), answer.headers.get_content_type()
        except (OSError, HTTPException, ValueError) as error:
            final = isinstance(error, HTTPError) and error.code < 500
            if final or attempt == 3 or "CERTIFICATE_VERIFY" in str(error):
                raise GetUvError(f"cannot fetch {url}: {error}", remedy_for(error)) from error
            say(f"{error}; trying again")
            time.sleep(2 * attempt)
    raise AssertionError("unreachable")


def remedy_for(error: Exception) -> str:
    if "CERTIFICATE_VERIFY" in str(error):
        return "set SSL_CERT_FILE to the CA bundle of this network"
    return "check the network and any proxy, or set PIP_INDEX_URL to an index that this machine reaches"


def wheel_url(name: str) -> str:
    """Look the wheel up in the index, which answers in JSON or, if older, in HTML."""
    page = f"{index_url()}/uv/"
    body, kind = get(page, "application/vnd.pypi.simple.v1+json, text/html;q=0.5")
    if kind.endswith("json"):
        links = [str(file["url"]) for file in json.loads(body)["files"]]
    else:
        links = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]+)"', body.decode())]
    for link in links:
        target = urljoin(page, link)
        if unquote(urlsplit(target).path).endswith("/" + name):
            return urldefrag(target).url
    raise GetUvError(f"the package index has no {name}", "set PIP_INDEX_URL to an index that carries it")


def download() -> bytes:
    name, sha256 = wheel()
    say(f"fetching {name}")
    body, _ = get(wheel_url(name))
    if hashlib.sha256(body).hexdigest() != sha256:
        raise GetUvError(
            f"the sha256 of {name} is not the pinned {sha256}",
            "try again; if it stays so, the index or something before it alters the file: do not use it",
        )
    return body


def target_directory() -> Path:
    on_path = {Path(entry) for entry in os.get_exec_path()}
    for directory in (Path("/usr/local/bin"), home_bin()):
        if directory in on_path and os.access(directory, os.W_OK):
            return directory
    return home_bin()


def install(body: bytes, into: Path) -> Path:
    """Unpack the two programs; each appears whole or not at all, also beside another run."""
    into.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for program in ("uvx", "uv"):
            handle, temporary = tempfile.mkstemp(dir=into, prefix=f".{program}-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(archive.read(f"uv-{VERSION}.data/scripts/{program}"))
                Path(temporary).chmod(0o755)
                Path(temporary).replace(into / program)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
    return into / "uv"


def fetch_uv() -> Path:
    into = target_directory()
    body = download()
    try:
        uv = install(body, into)
    except OSError as error:
        raise GetUvError(f"cannot write uv to {into}: {error}", "set HOME to a directory you can write") from error
    if version_of(str(uv)) is None:
        raise GetUvError(f"{uv} does not start", f"remove it and install uv {VERSION} another way")
    say(f"installed uv {VERSION} in {into}")
    return uv


def main() -> int:
    try:
        uv = find_uv() or fetch_uv()
    except GetUvError as error:
        say(str(error))
        return 1
    print(uv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
