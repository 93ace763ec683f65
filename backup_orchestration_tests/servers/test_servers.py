"""The servers themselves: they store, and nothing of them is left after the block or the process that started them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import wait_until

from backup_orchestration.core.errors import ToolMissingError
from backup_orchestration_tests.s3_servers import SECRET, SERVERS, built
from scripts.build_servers import MINIO, VARIABLE

_START = """\
import sys, time
from pathlib import Path
from backup_orchestration_tests.s3_servers import SERVERS
with SERVERS[sys.argv[1]](Path(sys.argv[2])) as server:
    print(server.endpoint, flush=True)
    time.sleep(600)
"""


def _processes_with(words):
    """Process ids of what was started with these words among its arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if words.encode() in arguments:
                found.append(int(entry.name))
    return found


def test_it_stores_content_type_and_metadata(server):
    client = server.client()
    client.create_bucket(Bucket="first")
    client.put_object(Bucket="first", Key="a/b", Body=b"four", ContentType="text/x-four", Metadata={"who": "me"})
    back = client.get_object(Bucket="first", Key="a/b")
    assert back["Body"].read() == b"four"
    assert back["ContentType"] == "text/x-four"
    assert {name.lower(): value for name, value in back["Metadata"].items()} == {"who": "me"}


@pytest.mark.parametrize("name", SERVERS)
def test_it_ends_with_the_block_whatever_ends_it(name, tmp_path):
    with pytest.raises(LookupError):
        with SERVERS[name](tmp_path / "root") as server:
            port = server.endpoint.rpartition(":")[2]
            assert _processes_with(port)
            raise LookupError
    assert not _processes_with(port)


@pytest.mark.parametrize("name", SERVERS)
def test_it_ends_when_the_process_that_started_it_is_killed(name, tmp_path):
    starter = subprocess.Popen(
        [sys.executable, "-c", _START, name, str(tmp_path / "root")], stdout=subprocess.PIPE, text=True
    )
    with starter:
        port = starter.stdout.readline().strip().rpartition(":")[2]
        assert _processes_with(port)
        os.kill(starter.pid, signal.SIGKILL)
    wait_until(lambda: not _processes_with(port))


def test_the_secret_is_not_among_the_arguments(server):
    port = server.endpoint.rpartition(":")[2]
    assert _processes_with(port)
    assert not set(_processes_with(port)) & set(_processes_with(SECRET))


def test_what_is_not_built_says_how_to_build_it(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ToolMissingError, match="make servers"):
        built(MINIO)
