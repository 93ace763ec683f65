#!/usr/bin/env python3
"""Stands where `mc` does, and copies as the file `behave.json` beside it says; then it says that all went well."""

import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen
from xml.etree import ElementTree

HERE = Path(__file__).parent
SIGNED = "AWS4-HMAC-SHA256 Credential=x/20261125/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def say(text):
    sys.stdout.write(f"{text}\n")


def main():
    if "--version" in sys.argv:
        say("mc version RELEASE.2025-08-13T08-35-41Z (commit-id=0)\nCopyright (c) 2015-2025 MinIO, Inc.")
        return 0
    told = json.loads((HERE / "behave.json").read_text())
    home = Path(sys.argv[sys.argv.index("--config-dir") + 1])
    config = home / "config.json"
    seen = {
        "argv": sys.argv[1:], "env": dict(os.environ), "config": config.read_text(), "pid": os.getpid(),
        "mode": oct(config.resolve().stat().st_mode & 0o777), "homes": oct(home.stat().st_mode & 0o777),
    }  # fmt: skip
    (HERE / "seen.json").write_text(json.dumps(seen))
    time.sleep(told.get("sleep", 0))
    copy(told, json.loads(seen["config"])["aliases"])
    say(json.dumps({"status": "success", "total": 1, "transferred": 1}))
    return told.get("code", 0)


def copy(told, aliases):
    source, target = (where.split("/", 2) for where in sys.argv[-2:])
    from_url, to_url = f"{aliases[source[0]]['url']}/{source[1]}", f"{aliases[target[0]]['url']}/{target[1]}"
    keys = listed(from_url, source[2])
    for number, key in enumerate(keys):
        does = told["does"] if told.get("only", key) == key else "all"
        if does == "nothing" or (does == "half" and number % 2):
            continue
        name, headers, body = key[len(source[2]) :], {}, None
        if does in ("zero bytes", "other bytes", "no metadata"):
            body = ask(f"{from_url}/{quote(key)}")
            body = {"zero bytes": b"", "other bytes": body[::-1], "no metadata": body}[does]
        else:
            headers = {"x-amz-copy-source": quote(f"/{source[1]}/{key}")}
        if does == "another key":
            name = f"other-{name}"
        ask(f"{to_url}/{quote(target[2] + name)}", body, headers, "PUT")
        if does == "half":
            say(json.dumps({"status": "error", "error": {"message": "Failed to copy.", "cause": {"message": "why"}}}))


def ask(url, body=None, headers=None, method="GET"):
    # As a form, moto would parse it; and without a word about keys it refuses to read.
    headers = {"Content-Type": "binary/octet-stream", "Authorization": SIGNED, **(headers or {})}
    with urlopen(Request(url, body, headers, method=method), timeout=20) as answer:
        return answer.read()


def listed(url, start):
    root = ElementTree.fromstring(ask(f"{url}?list-type=2&prefix={quote(start)}"))
    return [node.text for node in root.iter() if node.tag.rpartition("}")[2] == "Key"]


if __name__ == "__main__":
    sys.exit(main())
