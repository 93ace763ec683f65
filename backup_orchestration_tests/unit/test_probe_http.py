"""The `http` probe on a small application that serves what was restored, or does not."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError
from records import NOW, snapshot

from backup_orchestration.core import application
from backup_orchestration.core.errors import LabError, ProbeFailedError, SecretError, ToolMissingError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.sources import Files
from backup_orchestration.probes import http
from backup_orchestration.probes._http_options import HttpOptions
from backup_orchestration.probes.base import Restored
from backup_orchestration.probes.http import HttpProbe

PYTHON = sys.executable
APPLICATION = str(Path(__file__).with_name("application.py"))
TOKEN = "token-of-the-restored-0815"


@pytest.fixture
def restored(tmp_path) -> Restored:
    """Notes and a token, as they came back."""
    root = tmp_path / "lab" / "data"
    (root / "srv/notes").mkdir(parents=True)
    (root / "srv/notes/today.txt").write_text("buy milk\n")
    (root / "srv/notes/token").write_text(f"{TOKEN}\n")
    policy = BackupPolicy(target="app/files", source=Files(path="/srv/notes"))
    return Restored(root, policy, snapshot(), NOW)


@pytest.fixture(params=["isolated", "open"])
def anyhow(request, monkeypatch, tmp_path):
    """Both ways that a system can treat us: with name spaces, and without."""
    if request.param == "open":
        without_name_spaces(monkeypatch, tmp_path)
    return request.param


def without_name_spaces(monkeypatch, tmp_path):
    python = tmp_path / "python"
    lines = [
        f"#!{PYTHON}",
        "import sys",
        "from backup_orchestration.core import isolation",
        "isolation._succeeds = lambda action: False",
        "sys.exit(isolation.run(sys.argv[4:]))",
    ]
    python.write_text("\n".join(lines))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def options(*requests, how="serves", more=(), **fields):
    command = [PYTHON, APPLICATION, "{port}", "{root}", how, *map(str, more)]
    return HttpOptions.model_validate({"command": command, "requests": list(requests), **fields})


def fault(restored, *requests, **how) -> str:
    with pytest.raises(ProbeFailedError) as failed:
        HttpProbe().check(restored, options(*requests, **how))
    return failed.value.message


def left_of(restored) -> list[bytes]:
    """Processes that name the lab on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(restored.root).encode() in words:
            found.append(words)
    return found


NOTES = {"path": "/notes", "contains": "milk", "headers": {"content-type": "text/plain"}}


def test_an_application_that_answers_passes_and_is_gone(restored, anyhow):
    bearer, key = (
        {"restored": "/srv/notes/token"},
        {"restored": "/srv/notes/token", "scheme": "plain", "header": "X-Key"},
    )
    found = HttpProbe().check(
        restored,
        options(
            NOTES,
            {"path": "/secret", "status": 401},
            {"path": "/secret", "credentials": bearer},
            {"path": "/secret", "credentials": key},
            {"path": "/json", "json_equals": {"/version": "1.2", "/parts/0/a~1b": 1, "/on": True}},
        ),
    )
    said = "5 request(s) to the application answered as they should"
    assert found.summary == said + ("; not isolated: this system gives it no name spaces" * (anyhow == "open"))
    assert found.counts == {"requests": 5}
    assert left_of(restored) == []
    assert [path.name for path in restored.root.parent.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"path": "/notes", "status": 404}, "GET /notes: status 200, 404 was expected"),
        ({"path": "/secret"}, "GET /secret: status 401, 200 was expected"),
        ({"path": "/notes", "contains": "bread"}, "GET /notes: 'bread' is not in the 9 bytes of the answer"),
        ({"path": "/notes", "headers": {"Content-Type": "html"}}, "header Content-Type is 'text/plain"),
        ({"path": "/notes", "headers": {"ETag": "1"}}, "header ETag is None, without '1'"),
        ({"path": "/notes", "json_equals": {"/a": 1}}, "GET /notes: the answer is no JSON"),
        ({"path": "/json", "json_equals": {"/version": "1.3"}}, '/version is "1.2", "1.3" was expected'),
        ({"path": "/json", "json_equals": {"/on": 1}}, "/on is true, 1 was expected"),
        ({"path": "/json", "json_equals": {"/parts/7": 1}}, "the answer has no /parts/7"),
        ({"path": "/json", "json_equals": {"/version/x": 1}}, "the answer has no /version/x"),
        ({"path": "/notes", "method": "DELETE"}, "DELETE /notes: status 501, 200 was expected"),
        ({"path": "/die"}, "ended with exit code 3 when it was asked GET /die; it said last: out of paper"),
    ],
)
def test_what_is_answered_wrongly_is_red(restored, request_, says):
    assert says in fault(restored, request_)


def test_a_file_that_did_not_come_back_is_red(restored):
    (restored.root / "srv/notes/today.txt").unlink()
    assert "GET /notes: no whole answer in HTTP" in fault(restored, NOTES)


def test_credentials_that_did_not_come_back_are_red(restored):
    (restored.root / "srv/notes/token").write_text("\n")
    secret = {"path": "/secret", "credentials": {"restored": "/srv/notes/token"}}
    assert "/srv/notes/token: its first line should hold credentials and is empty" in fault(restored, secret)
    (restored.root / "srv/notes/token").write_bytes(b"\xff\xfe")
    assert "cannot be read: it is no text" in fault(restored, secret)
    (restored.root / "srv/notes/token").unlink()
    assert "/srv/notes/token cannot be read: No such file" in fault(restored, secret)
    (restored.root / "srv/notes/token").symlink_to(__file__)
    assert "leads out of the lab" in fault(restored, secret)


def test_the_wrong_token_of_this_host_is_red_and_none_is_an_error(restored, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("another-token\n")
    secret = {"path": "/secret", "credentials": {"file": str(mine)}}
    assert "GET /secret with credentials: status 401, 200 was expected" in fault(restored, secret)
    declared = options(secret)
    mine.write_text("")
    with pytest.raises(SecretError, match="its first line is empty"):
        HttpProbe().check(restored, declared)
    mine.unlink()
    with pytest.raises(SecretError, match="cannot be read"):
        HttpProbe().check(restored, declared)


def test_a_password_is_sent_as_browsers_do(restored):
    (restored.root / "srv/notes/login").write_text("ann:pass:word\n# more\n")
    basic = {"restored": "/srv/notes/login", "scheme": "basic"}
    HttpProbe().check(
        restored, options({"path": "/basic", "credentials": basic, "contains": "Basic YW5uOnBhc3M6d29yZA=="})
    )


def test_secrets_are_masked_in_what_the_application_says(restored):
    secret = {"path": "/secret", "credentials": {"restored": "/srv/notes/token"}, "status": 404}
    message = fault(restored, secret)
    assert message.endswith("status 200, 404 was expected; it said last: asked with ('Bearer ***', None)")


def test_an_application_that_does_not_start_is_red_with_its_last_words(restored, anyhow):
    message = fault(restored, NOTES, how="dies")
    assert (
        message == "the application ended with exit code 4 before it answered; it said last: cannot read the database"
    )


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("mute", "the application did not answer / after 0.6 s"),
        ("warming", "the application answers / with 503 after 0.6 s"),
    ],
)
def test_an_application_that_never_is_ready_is_red(restored, how, says):
    assert fault(restored, NOTES, how=how, ready={"seconds": 0.6}).startswith(says)
    assert left_of(restored) == []


def test_an_answer_that_never_ends_is_red(restored, monkeypatch):
    monkeypatch.setattr(http, "_REQUEST_SECONDS", 0.5)
    assert "GET /drip: no whole answer in HTTP within 0.5 s" in fault(restored, {"path": "/drip"})


@pytest.mark.parametrize("how", ["stubborn", "family"])
def test_all_that_came_of_it_is_ended(restored, monkeypatch, how):
    monkeypatch.setattr(application, "GRACE_SECONDS", 0.5)
    HttpProbe().check(restored, options(NOTES, how=how))
    assert left_of(restored) == []


def test_it_is_ended_by_an_exception_too(restored, monkeypatch):
    def interrupt(*_):
        assert left_of(restored)
        raise KeyboardInterrupt

    monkeypatch.setattr(http, "_expect", interrupt)
    with pytest.raises(KeyboardInterrupt):
        HttpProbe().check(restored, options(NOTES))
    assert left_of(restored) == []


def test_it_is_ended_when_we_are_killed(restored):
    code = f"""
import sys, time
from pathlib import Path
from backup_orchestration.core.application import application, free_port
argv = [sys.executable, {APPLICATION!r}, str(free_port()), {str(restored.root)!r}, "family"]
with application(argv, int(argv[2]), Path({str(restored.root.parent)!r}), {{}}) as running:
    while running.connect() is None: time.sleep(0.05)
    sys.stdout.write("up\\n"); sys.stdout.flush()
    time.sleep(60)
"""
    ours, its = os.pipe()
    child = os.posix_spawn(PYTHON, [PYTHON, "-c", code], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, its, 1)])
    os.close(its)
    assert os.read(ours, 9) == b"up\n"
    os.close(ours)
    assert left_of(restored)
    os.kill(child, 9)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 10
    while left_of(restored):
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere():
    """A server of somebody else on this host."""
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_redirect_is_not_followed(restored, elsewhere):
    url = f"http://127.0.0.1:{elsewhere.server_port}/out"
    away = {"path": "/away", "status": 302, "headers": {"Location": url}}
    HttpProbe().check(restored, options(away, more=[url]))
    assert "status 302, 200 was expected" in fault(restored, {"path": "/away"}, more=[url])
    assert elsewhere.asked == []


def test_it_reaches_nothing_but_the_lab(restored, elsewhere, tmp_path):
    (tmp_path / "production").mkdir()
    expected = {"/connects": False, "/outside": False, "/lab": True, "/restored": True}
    request = {"path": "/egress", "json_equals": expected}
    HttpProbe().check(restored, options(request, more=[elsewhere.server_port, tmp_path / "production"]))
    assert list((tmp_path / "production").iterdir()) == []


def test_without_name_spaces_it_does_and_we_say_so(restored, elsewhere, tmp_path, monkeypatch):
    without_name_spaces(monkeypatch, tmp_path)
    (tmp_path / "production").mkdir()
    request = {"path": "/egress", "json_equals": {"/connects": True, "/outside": True}}
    more = [elsewhere.server_port, tmp_path / "production"]
    assert "not isolated" in HttpProbe().check(restored, options(request, more=more)).summary


def test_it_gets_nothing_of_our_environment(restored, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    known = ["HOME", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"]
    listed = [name for name in known if name in os.environ or name in ("HOME", "LC_ALL", "TMPDIR", "TZ")]
    contains = json.dumps({"environment": listed})[1:-1]
    HttpProbe().check(restored, options({"path": "/egress", "contains": contains}, more=[1, tmp_path]))


def test_who_else_listens_on_the_port_is_not_asked(restored, elsewhere, tmp_path, monkeypatch):
    """Without a network of its own, a server of production could answer in the place of the restored one."""
    without_name_spaces(monkeypatch, tmp_path)
    monkeypatch.setattr(http, "free_port", lambda: elsewhere.server_port)
    declared = options({"path": "/"}, how="mute")
    with pytest.raises(LabError, match=f"port {elsewhere.server_port} was taken by another program"):
        HttpProbe().check(restored, declared)
    assert elsewhere.asked == []


def test_a_port_that_others_use_is_free_in_a_network_of_its_own(restored, elsewhere, monkeypatch):
    monkeypatch.setattr(http, "free_port", lambda: elsewhere.server_port)
    HttpProbe().check(restored, options(NOTES))
    assert elsewhere.asked == []


def test_a_link_out_of_the_lab_does_not_lead_to_production(restored, tmp_path):
    (tmp_path / "production").write_text("buy milk\n")
    note = restored.root / "srv/notes/today.txt"
    note.rename(note.with_name("first.txt"))
    note.symlink_to("/srv/notes/first.txt")
    HttpProbe().check(restored, options(NOTES))
    for target in (str(tmp_path / "production"), "../../../../production", "today.txt"):
        note.unlink(missing_ok=True)
        note.symlink_to(target)
        assert "GET /notes: no whole answer" in fault(restored, NOTES)


def test_a_program_that_is_not_here_says_nothing_of_the_data(restored):
    declared = HttpOptions(command=("no-such-program", "{lab}"), requests=options(NOTES).requests)
    with pytest.raises(ToolMissingError, match="no-such-program is not on this machine"):
        HttpProbe().check(restored, declared)


def test_a_command_that_needs_a_database_says_so(restored):
    declared = HttpOptions(command=(PYTHON, "{socket}"), requests=options(NOTES).requests)
    with pytest.raises(ProbeFailedError, match=r"names \{socket\}, and no PostgreSQL runs"):
        HttpProbe().check(restored, declared)


def as_who(credentials):
    return {"path": "/", "credentials": credentials}


@pytest.mark.parametrize(
    ("fields", "where", "says"),
    [
        ({"command": []}, "command", "at least 1"),
        ({"command": ["a", "{home}"]}, "command.1", "{home} is no placeholder; there are {root}, {port}"),
        ({"command": ["{port!r}"]}, "command.0", "is no placeholder"),
        ({"command": ["{"]}, "command.0", "Single '{'"),
        ({"command": ["{}"]}, "command.0", "{} is no placeholder"),
        ({"command": "radicale"}, "command", "tuple"),
        ({"requests": []}, "requests", "at least 1"),
        ({"requests": [{"path": "notes"}]}, "requests.0.path", "match pattern"),
        ({"requests": [{"path": "/a b"}]}, "requests.0.path", "match pattern"),
        ({"requests": [{"path": "/", "status": 99}]}, "requests.0.status", "greater"),
        ({"requests": [{"path": "/", "body": "x"}]}, "requests.0.body", "not permitted"),
        ({"requests": [{"path": "/", "credentials": {}}]}, "requests.0.credentials", "give either `restored`"),
        (
            {"requests": [{"path": "/", "credentials": {"file": "/no/such"}}]},
            "requests.0.credentials.file",
            "not there",
        ),
        (
            {"requests": [{"path": "/", "credentials": {"restored": "x"}}]},
            "requests.0.credentials.restored",
            "absolute",
        ),
        ({"ready": {"seconds": 0.0}}, "ready.seconds", "greater than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_field(fields, where, says):
    with pytest.raises(ValidationError) as refused:
        HttpOptions.model_validate({"command": ["a"], "requests": [{"path": "/"}], **fields})
    (error,) = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == where
    assert says in error["msg"]
