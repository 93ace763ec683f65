"""Acceptance: no secret leaves its place: not into Dagster's storage, a log, evidence, arguments, or an environment.

Every secret of the installation is a canary. Everything is searched for them that processes have left behind, and each
process is looked at while it runs. The same search has to find what is planted in each kind of place first.
"""

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from canaries import Search, Watch

from backup_orchestration.core import tools
from backup_orchestration.devlab.needs import RCLONE

pytestmark = [pytest.mark.tools, pytest.mark.slow]

LIMIT_SECONDS = 200
# By environment: these stand in the environment of whoever resolves them, which the person chose.
ENDED = {"app/files", "app/probed", "app/loud"}
BY_ENVIRONMENT = {"password", "other-url", "secret-key"}
COMMAND = "-m backup_orchestration.cli.main"
NOBODY = 65534
# Root runs all of it a second time as somebody who may do nothing.
USERS = [os.geteuid()] + ([NOBODY] if os.geteuid() == 0 else [])

SETTINGS = """\
contributors = ["./services.py"]
providers = ["./loud.py:Loud"]
probes = ["./loud.py:LoudProbe"]
home = "state"
secrets = "vault"

[destinations.default]
location = "s3://backups/site"
endpoint = "http://127.0.0.1:{port}"
access_key = {{ file = "vault/access-key" }}
secret_key = {{ command = ["cat", "vault/secret-key"] }}
password = {{ env = "CANARY_PASSWORD" }}

[destinations.local]
location = "local"
password = {{ command = ["/bin/sh", "-c", "cat vault/local-password"] }}

[evidence]
location = "s3://backups/evidence"
endpoint = "http://127.0.0.1:{port}"
access_key = {{ file = "vault/access-key" }}
secret_key = {{ env = "CANARY_SECRET_KEY" }}
key = {{ name = "evidence-key" }}

[notifications.refuses]
url = {{ file = "vault/url" }}
[notifications.strange]
url = {{ env = "CANARY_OTHER_URL" }}
"""

SERVICES = """\
import os
from pathlib import Path
from backup_orchestration import *
HERE = Path(__file__).parent
CRON = {cron!r}

def policy(target, probes=(), **more):
    test = RestoreTest(cron=CRON, probes=list(probes))
    return BackupPolicy(target=target, source=Files(path=str(HERE / "data")), cron=CRON, restore_test=test, **more)

class Services:
    def policies(self):
        if (HERE / "broken").exists():
            from loud import cry
            cry(("password", "evidence-key", "access-key", "url", "other-url"))
        return [policy("app/files"), policy("app/local", destination="local"), policy("app/probed", ["loud"]),
                policy("app/loud", provider="loud", destination="local")]

contributor = Services()
"""

# What somebody's own code may do with the secrets it is given, or finds.
LOUD = """\
import base64, json, sys
from pathlib import Path
from urllib.parse import quote
from backup_orchestration.core.sources import Files
from backup_orchestration.probes.base import ProbeKind
from backup_orchestration.providers.base import Provider, Repository
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

def cry(names):
    found = [json.loads((HERE / "canaries.json").read_text())[name] for name in names]
    texts = [f"{word} {quote(word, safe='')} {json.dumps(word)}" for word in found]
    texts += [base64.b64encode(word.encode()).decode() for word in found]
    try:
        try:
            raise KeyError(" ".join(found))
        except KeyError as first:
            raise ValueError(" ".join(texts)) from first
    except ValueError:
        raise RuntimeError(f"cannot use {texts}")

NAMES = ("password", "local-password", "evidence-key", "access-key", "secret-key", "url", "other-url")

class Loud(Provider):
    name, encryption, tools, sources = "loud", "none", (), ("files",)
    def open(self, policy, destination, around):
        return LoudRepository(destination, around, self.location(policy, destination).path)
    def location(self, policy, destination):
        return destination.place / f"loud-{policy.slug}"

class LoudRepository(Repository):
    def __init__(self, destination, around, path):
        self.destination, self.around, self.path = destination, around, path
    @property
    def location(self):
        return str(self.path)
    def cry(self, *_):
        self.around.secrets.value(self.destination.password, "password")
        cry(NAMES)
    backup = snapshots = restore = prune = by_hand = cry

class LoudProbe(ProbeKind):
    name, sources = "loud", ("files",)
    def check(self, restored, options):
        cry([name for name in NAMES if name != "local-password"])
"""

# Stands before restic and writes down what restic gets.
SHIM = """\
#!/bin/sh
{{ tr '\\0' '\\n' </proc/$$/environ; tr '\\0' ' ' </proc/$$/cmdline; echo; }} >>{log}
for file in "$RESTIC_PASSWORD_FILE" "$AWS_SHARED_CREDENTIALS_FILE"; do
    [ -z "$file" ] || stat -c '%a %n' "$file" "${{file%/*}}" >>{log}
done
exec {restic} "$@"
"""


class Webhook(ThreadingHTTPServer):
    """Takes no message, and answers with what is no HTTP."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Refusing)
        self.asked = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.asked += 1
        self.wfile.write(b"this is no HTTP\r\n\r\n")

    def log_message(self, *_):
        pass


class Installation:
    """Everything of one installation, and who runs it."""

    def __init__(self, root, user, port, webhook, restic, cron):
        self.root, self.user = root, user
        url = f"http://127.0.0.1:{webhook.server_address[1]}/hook"
        self.canaries = {
            "password": f'p@ss/{secrets.token_hex(8)}"ö+',
            "local-password": f"l'cal {secrets.token_hex(8)}\\",
            "evidence-key": f"évidence&{secrets.token_hex(8)}",
            "access-key": secrets.token_hex(10),
            "secret-key": secrets.token_hex(20),
            "url": f"{url}?token={secrets.token_hex(8)}",
            "other-url": f"{url}/not encoded/{secrets.token_hex(8)}",
        }
        self.search = Search(self.canaries | {"token": self.canaries["url"].partition("=")[2]})
        for name in ("data", "vault", "tools", "tmp", "logs", "user"):
            (root / name).mkdir(mode=0o700)
        for name, value in self.canaries.items():
            if name not in {"password", "other-url"}:
                (root / "vault" / name).touch(mode=0o600)
                (root / "vault" / name).write_text(value + "\n")
        (root / "canaries.json").touch(mode=0o600)
        (root / "canaries.json").write_text(json.dumps(self.canaries))
        (root / "data" / "file").write_text("data\n")
        (root / "homelab.toml").write_text(SETTINGS.format(port=port))
        (root / "services.py").write_text(SERVICES.format(cron=cron))
        (root / "loud.py").write_text(LOUD)
        shim = root / "tools" / "restic"
        shutil.copy2(restic, root / "restic")  # from where anybody may start it
        shim.write_text(SHIM.format(log=root / "logs" / "restic", restic=root / "restic"))
        shim.chmod(0o755)
        for path in (root, *root.rglob("*")):
            os.chown(path, user, -1)

    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "user"),
            "TMPDIR": str(self.root / "tmp"),
            "HOMELAB_TOOLS": str(self.root / "tools"),
            "CANARY_PASSWORD": self.canaries["password"],
            "CANARY_SECRET_KEY": self.canaries["secret-key"],
            "CANARY_OTHER_URL": self.canaries["other-url"],
        }

    def start(self, *arguments):
        log = (self.root / "logs" / f"{'-'.join(arguments[1:3])}-{secrets.token_hex(4)}").open("wb")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "backup_orchestration.cli.main", *arguments],
                cwd=self.root, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                user=self.user, start_new_session=True,
            )  # fmt: skip

    def run(self, *arguments):
        process = self.start(*arguments)
        return process.wait(LIMIT_SECONDS)

    def said(self):
        return "".join(path.read_text(errors="replace") for path in sorted((self.root / "logs").iterdir()))

    def leaks(self, store):
        """Every canary anywhere but where it belongs."""
        places = ("state", "logs", "tmp", "user", "local")
        found = set().union(*(self.search.below(self.root / place) for place in places))
        return found | self.search.below(store)


@pytest.fixture
def webhook():
    server = Webhook()
    yield server
    server.shutdown()
    server.server_close()


@contextmanager
def serving(directory, canaries, port):
    """An S3 store with these keys. Its own environment holds them: it is no part of the installation."""
    (directory / "backups").mkdir(parents=True)
    argv = [str(tools.find(RCLONE).path), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off"]
    env = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": "", "HOME": str(directory.parent)}
    env["RCLONE_AUTH_KEY"] = f'"{canaries["access-key"]},{canaries["secret-key"]}"'
    store = subprocess.Popen([*argv, str(directory)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(time.monotonic() + 30, "the store answers", lambda: answers(port))
        yield store
    finally:
        store.kill()
        store.wait()


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def answers(port):
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def of(*names):
    return [word for name in names for word in ("--target", f"app/{name}")]


def until(deadline, what, found):
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.3)
    raise AssertionError(f"not in time: {what}")


@pytest.fixture
def install(webhook, restic):
    """Makes an installation with its store; not in pytest's directory, which nobody else may enter."""
    made = []

    @contextmanager
    def run(user=None, cron="0 2 * * *"):
        user = os.geteuid() if user is None else user
        place = Path(tempfile.mkdtemp(prefix="homelab-canaries-"))
        made.append(place)
        place.chmod(0o755)
        (place / "site").mkdir()
        port = free_port()
        site = Installation(place / "site", user, port, webhook, restic, cron)
        with serving(place / "store", site.canaries, port) as store:
            watch = Watch(site.search, site.root / "state" / "run", frozenset([store.pid]))
            with watch:
                yield site, watch, place / "store"

    yield run
    for place in made:
        shutil.rmtree(place, ignore_errors=True)


def assert_kept(site, watch, store):
    """Nothing leaked, and what had to be looked at was."""
    assert not site.leaks(store)
    assert [shown for shown in watch.programs if COMMAND in shown]
    assert [shown for shown in watch.programs if str(site.root / "restic") in shown]
    assert not {(canary, shown) for kind, canary, shown in watch.seen if kind == "cmdline"}
    # The command line itself was given some by its environment; its workers are forks of it, and show the same.
    foreign = {(canary, shown) for kind, canary, shown in watch.seen
               if kind == "environ" and not (COMMAND in shown and canary in BY_ENVIRONMENT)}  # fmt: skip
    assert not foreign
    # The temporary files that hold secrets, seen while they were there, by the watch and by restic itself.
    assert {mode for name, mode in watch.modes if name == "run"} == {0o700}
    assert {mode for name, mode in watch.modes if name in ("secret", "new")} == {0o600}
    told = [line.split(" ", 1) for line in (site.root / "logs" / "restic").read_text().splitlines()]
    files = {
        mode for mode, path in (line for line in told if len(line) == 2) if path.startswith(f"{site.root}/state/run/")
    }
    assert files == {"600"}
    assert ["700", str(site.root / "state/run")] in told
    assert list((site.root / "state" / "run").iterdir()) == []
    for left in ("labs", "staging/app-files"):
        assert not list((site.root / "state" / left).glob("*"))
    # A daemon of Dagster's that is stopped while its code server starts leaves the socket of that: nothing is in one.
    assert not [path for path in (site.root / "tmp").iterdir() if not path.is_socket()]


def test_the_search_finds_what_is_planted_in_each_kind_of_place(tmp_path):
    """The tests below would pass for a search that finds nothing."""
    canaries = {
        name: f"{name}-{secrets.token_hex(6)}"
        for name in ("log", "cell", "blob", "base64", "wal", "url", "name", "deep")
    }
    canaries["url"] += "/&ö"
    search = Search(canaries)
    (tmp_path / "a.log").write_text(f"it said {canaries['log']}!")
    (tmp_path / "url").write_text(json.dumps("%7B" + quote(canaries["url"], safe="")))
    (tmp_path / canaries["name"]).touch()
    (tmp_path / "b64").write_bytes(b"Basic:" + base64.b64encode(f"user:{canaries['base64']}".encode()))
    packed = zlib.compress(json.dumps({"x": "y" * 100, "z": canaries["deep"]}).encode())
    (tmp_path / "deep").write_bytes(b"prefix " + base64.urlsafe_b64encode(zlib.compress(base64.b64encode(packed))))
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE snapshots (body BLOB, text TEXT)")
        database.execute(
            "INSERT INTO snapshots VALUES (?, ?)", (zlib.compress(canaries["blob"].encode()), canaries["cell"])
        )
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("INSERT INTO snapshots VALUES (?, '')", (zlib.compress(canaries["wal"].encode() * 3000),))
        database.commit()
        assert (tmp_path / "a.db-wal").stat().st_size
        found = search.below(tmp_path)
    assert {canary for _, canary in found} == set(canaries)
    assert (str(tmp_path / "a.db"), "wal") in found


def test_the_watch_sees_arguments_and_environments(tmp_path):
    search = Search({"argument": "arg-0123456789", "variable": "env-0123456789"})
    with Watch(search, tmp_path) as watch:
        (tmp_path / "secret-x").touch(mode=0o644)
        middle = "import subprocess, sys; subprocess.run(['sleep', '0.5'], env={'V': sys.argv[1]})"
        subprocess.run([sys.executable, "-c", middle, "env-0123456789"], env={"PATH": os.environ["PATH"]}, check=True)
        subprocess.run(["sh", "-c", "sleep 0.5; : arg-0123456789"], check=True)
    kinds = {(kind, canary) for kind, canary, _ in watch.seen}
    assert kinds >= {("cmdline", "argument"), ("environ", "variable"), ("cmdline", "variable")}
    assert ("secret", 0o644) in watch.modes


@pytest.mark.parametrize("user", USERS, ids=lambda user: "as-nobody" if user == NOBODY else "as-we-are")
def test_the_command_line_keeps_every_secret(install, user):
    with install(user) as (site, watch, store):
        assert site.run("backup", "run", *of("files", "local", "probed")) == 0
        assert site.run("backup", "run", *of("loud")) == 1
        assert site.run("backup", "restore-test", *of("files", "local")) == 0
        assert site.run("backup", "restore-test", *of("probed", "loud")) == 1
        for words in (["status", "--json"], ["list", "--target", "app/loud"]):
            assert site.run("backup", *words) == 1
        (site.root / "broken").touch()
        assert site.run("backup", "policies") == 2
        said = site.said()
        assert "restore test passed" in said
        assert said.count("RuntimeError: cannot use") >= 5
        assert "cannot be imported" in said or "policies() failed: RuntimeError" in said
    assert_kept(site, watch, store)


def test_the_daemon_and_what_it_starts_keep_every_secret(install, webhook):
    with install(cron="* * * * *") as (site, watch, store):
        assert site.run("backup", "run", *of("files", "local", "probed")) == 0
        before = site.said()
        daemon = site.start("backup", "run", "--schedule")
        try:
            deadline = time.monotonic() + LIMIT_SECONDS
            until(
                deadline,
                "runs of each target have ended",
                lambda: ended(site) >= {"app/files", "app/probed", "app/loud"},
            )
            until(deadline, "a notification was refused", lambda: webhook.asked)
            until(deadline, "the refusal is on record", lambda: "not delivered" in ticks(site))
            (site.root / "broken").touch()
            broken = site.start("backup", "run", "--schedule")
            try:
                until(deadline, "contributors that raise", lambda: "policies() failed" in site.said())
            finally:
                os.killpg(broken.pid, signal.SIGTERM)
                broken.wait(30)
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)
            daemon.wait(60)
        assert site.said() != before
    for process in ("dagster._daemon.cli", "api grpc", "multiprocessing.spawn"):  # daemon, code server, runs
        assert [shown for shown in watch.programs if process in shown]
    assert_kept(site, watch, store)


def ended(site):
    """Targets of which the daemon has ended a restore test, or a backup that cannot succeed."""
    with closing(sqlite3.connect(site.root / "state/dagster/history/runs.db")) as database:
        rows = database.execute("SELECT run_body FROM runs WHERE status IN ('SUCCESS', 'FAILURE')").fetchall()
    bodies = [body for (body,) in rows if "dagster/schedule_name" in body]
    return {target for target in ENDED
            for body in bodies if target in body and (target == "app/loud" or "restore_test__" in body)}  # fmt: skip


def ticks(site):
    with closing(
        sqlite3.connect(f"file:{site.root}/state/dagster/schedules/schedules.db?mode=ro", uri=True)
    ) as database:
        return "".join(body for (body,) in database.execute("SELECT tick_body FROM job_ticks"))
