"""Asks a Meilisearch for a dump and copies it, with document counts, into the working directory.

Run by an `Export` source as a process of its own. API: POST /dumps, GET /tasks/<uid>, GET /stats.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import click

_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 30


@click.command()
@click.argument("url")
@click.argument("dumps", type=click.Path(path_type=Path))
@click.option("--key-file", type=click.Path(path_type=Path), help="File with the API key.")
@click.option("--timeout", default=3600.0, show_default=True, help="Seconds to wait for the dump.")
def main(url: str, dumps: Path, key_file: Path | None, timeout: float) -> None:
    """Dump the Meilisearch at URL, which writes into DUMPS, into the working directory."""
    key = key_file.read_text(encoding="utf-8").strip() if key_file else None
    before = _counts(url, key)
    task = _ask(url, key, "POST", "/dumps")["taskUid"]
    deadline = time.monotonic() + timeout
    while (answer := _ask(url, key, "GET", f"/tasks/{task}"))["status"] not in ("succeeded", "failed", "canceled"):
        if time.monotonic() > deadline:
            sys.exit(f"the dump is not done after {timeout:g} s")
        time.sleep(_POLL_SECONDS)
    if answer["status"] != "succeeded":
        sys.exit(f"the dump {answer['status']}: {answer.get('error', {}).get('message', 'no reason given')}")
    dump = dumps / f"{answer['details']['dumpUid']}.dump"
    shutil.copyfile(dump, dump.name)
    dump.unlink()
    counts = {"before": before, "after": _counts(url, key)}
    Path("counts.json").write_text(json.dumps(counts, sort_keys=True), encoding="utf-8")


def _counts(url: str, key: str | None) -> dict[str, int]:
    """Documents by index."""
    return {name: index["numberOfDocuments"] for name, index in _ask(url, key, "GET", "/stats")["indexes"].items()}


def _ask(url: str, key: str | None, method: str, path: str) -> Any:
    if not url.startswith(("http://", "https://")):
        sys.exit(f"{url} is not an http or https address")
    request = urllib.request.Request(f"{url.rstrip('/')}{path}", method=method)  # noqa: S310 - checked above
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - checked above
        return json.load(answer)


if __name__ == "__main__":
    main()
