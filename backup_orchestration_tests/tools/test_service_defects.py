"""Acceptance: what is wrong with a restored service is seen by the probe that understands it."""

import io
import json
import os
import shutil
import tarfile
import threading
import time
from contextlib import suppress

import pytest
from defects import at, everything, other_byte, planted

from backup_orchestration.core.application import free_port
from backup_orchestration.core.beside import running
from backup_orchestration.devlab import radicale, seed
from backup_orchestration.devlab.certificates import Authority
from backup_orchestration.devlab.meilisearch import StandIn

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]

HEADING = "defects planted in restored services: defect | probe | its words"
KEY = "a key of sixteen"
SERVICES = """\
from pathlib import Path
from backup_orchestration.contributors.certs import Certs
from backup_orchestration.contributors.gitlab import GitLab
from backup_orchestration.contributors.grafana import Grafana
from backup_orchestration.contributors.meilisearch import Meilisearch
from backup_orchestration.contributors.radicale import Radicale
HERE = Path(__file__).parent / "services"
certs = Certs(HERE / "certs", {hosts!r})
gitlab = GitLab(HERE / "gitlab/config", HERE / "gitlab/repositories")
grafana = Grafana(HERE / "grafana/grafana.db", min_rows={{"dashboard": 12}})
KEY = HERE.parent / "secrets/search"
meilisearch = Meilisearch("http://127.0.0.1:{port}", HERE / "meilisearch/dumps", key_file=KEY)
radicale = Radicale(HERE / "radicale", {event!r}, contains={summary!r})
"""
TARGETS = ("certs/ca", "gitlab/config", "gitlab/repositories", "grafana/db", "meilisearch/dump", "radicale/collections")


@pytest.fixture(scope="module")
def services(tmp_path_factory, new_site, start_repository):
    """The lab's services, and a good snapshot of each."""
    site = new_site(tmp_path_factory.mktemp("services"))
    settings = (site.root / "homelab.toml").read_text()
    names = ("certs", "gitlab", "grafana", "meilisearch", "radicale")
    listed = ", ".join(f'"./services.py:{name}"' for name in names)
    (site.root / "homelab.toml").write_text(settings.replace('"./services.py"', listed))
    (site.root / "secrets" / "search").write_text(KEY)
    (site.root / "services").mkdir()
    seed.seed(site.root / "services")
    search = StandIn(0, site.root / "services" / "meilisearch", KEY)
    threading.Thread(target=search.serve_forever, daemon=True).start()
    text = SERVICES.format(
        hosts=seed.HOST_NAMES, port=search.server_address[1], event=radicale.EVENT, summary=radicale.SUMMARY
    )
    (site.root / "services.py").write_text(text)
    start_repository(site, *TARGETS)
    yield site, {target: site.backup(target).key for target in TARGETS}
    search.shutdown()
    search.server_close()


def moved_reference(tree):
    reference = tree.root / seed.REPOSITORIES[0] / "refs/heads/main"
    older = seed.git("--git-dir", str(reference.parents[2]), "rev-parse", "main~1")
    tree.keeping_times(reference, lambda path: path.write_text(f"{older}\n"))


def an_object(tree):
    """A loose object that the newest commit needs."""
    repository = tree.root / seed.REPOSITORIES[1]
    identity = seed.git("--git-dir", str(repository), "rev-parse", "main~1^{tree}")
    return repository / "objects" / identity[:2] / identity[2:]


def lost_object(tree):
    tree.keeping_times(an_object(tree), lambda path: path.unlink())


def corrupted_object(tree):
    def corrupt(path):
        path.chmod(0o600)
        other_byte(path)
        path.chmod(0o444)

    tree.keeping_times(an_object(tree), corrupt)


def foreign(part, **issued):
    """Another authority's file in the place of ours."""

    def plant(tree):
        authority = Authority("Somebody Else")
        made = authority.issue("*.lab.example", issued.get("hosts", ["*.lab.example"]))
        contents = {"ca.pem": authority.issued.certificate, "wildcard.key": made.key, "ca.key": authority.issued.key}
        for name in part:
            (tree.root / name).write_bytes(contents[name])

    return plant


def without_a_document(tree):
    dump = next(tree.root.glob("*.dump"))
    with tarfile.open(dump) as archive:
        members = [(item.name, archive.extractfile(item).read()) for item in archive if item.isfile()]
    with tarfile.open(dump, "w:gz") as archive:
        for name, content in members:
            kept = content.split(b"\n", 1)[1] if name == "indexes/films/documents.jsonl" else content
            item = tarfile.TarInfo(name)
            item.size = len(kept)
            archive.addfile(item, io.BytesIO(kept))


def borrowing_from_outside(tree):
    path = tree.root / seed.REPOSITORIES[2] / "objects/info/alternates"
    path.write_text("/etc\n")


def borrowing_from_a_borrower(tree):
    objects, between = tree.root / seed.REPOSITORIES[2] / "objects", tree.root / "between"
    (between / "info").mkdir(parents=True)
    (between / "info" / "alternates").write_text("/etc\n")
    (objects / "info" / "alternates").write_text(f"{os.path.relpath(between, objects)}\n")


def objects_behind_a_link(tree):
    objects = tree.root / seed.REPOSITORIES[2] / "objects"
    shutil.rmtree(objects)
    objects.symlink_to("/etc")


EVENT = f"collections/collection-root/{radicale.EVENT}"
DEFECTS = {
    "reference moved": ("gitlab/repositories", moved_reference, "git", "refs/heads/main is at"),
    "object missing": ("gitlab/repositories", lost_object, "git", "missing"),
    "loose object corrupted": ("gitlab/repositories", corrupted_object, "git", "corrupt"),
    "repository gone": ("gitlab/repositories", at(seed.REPOSITORIES[0], shutil.rmtree), "git", "is missing"),
    "borrows from outside": ("gitlab/repositories", borrowing_from_outside, "git", "outside of what was restored"),
    "borrows from a borrower": (
        "gitlab/repositories",
        borrowing_from_a_borrower,
        "git",
        "outside of what was restored",
    ),
    "objects behind a link": ("gitlab/repositories", objects_behind_a_link, "git", "outside of what was restored"),
    "key not matching": ("certs/ca", foreign(["wildcard.key"]), "certificate", "wildcard.key is not the key of"),
    "authority's key not matching": ("certs/ca", foreign(["ca.key"]), "certificate", "ca.key is not the key of"),
    "chain broken": ("certs/ca", foreign(["ca.pem", "ca.key"]), "certificate", "the chain is broken"),
    "one document less": ("meilisearch/dump", without_a_document, "documents", "index films has 79 documents, 80"),
    "counts gone": ("meilisearch/dump", at("counts.json", lambda path: path.unlink()), "documents", "counts.json"),
    "event removed": (
        "radicale/collections",
        at(EVENT, lambda path: path.unlink()),
        "http",
        f"GET /{radicale.EVENT} with credentials: status 404, 200 was expected",
    ),
    "event of other content": (
        "radicale/collections",
        at(EVENT, lambda path: path.write_bytes(path.read_bytes().replace(b"Opening", b"Closing"))),
        "http",
        "'SUMMARY:Opening of the lab' is not in the",
    ),
    "users file missing": (
        "radicale/collections",
        at("users", lambda path: path.unlink()),
        "http",
        "/users cannot be read: No such file",
    ),
    "configuration garbled": (
        "radicale/collections",
        at("config", lambda path: path.write_text("[auth\n")),
        "http",
        "the application ended with exit code 1 before it answered; it said last: ",
    ),
    "doors open": (
        "radicale/collections",
        at("config", lambda path: path.write_text("[auth]\ntype = none\n")),
        "http",
        f"GET /{radicale.EVENT}: status 200, 401 was expected",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_in_a_service(services, monkeypatch, matrix, name):
    site, keys = services
    target, defect, probe, words = DEFECTS[name]
    planted(monkeypatch, defect)
    evidence = site.restore_test(target, keys[target])
    found = {item.name: item for item in evidence.probes}
    matrix(HEADING, name, probe, found[probe].summary.replace(str(site.root), "")[:100])
    assert evidence.passed is False
    assert found["restore"].passed
    assert not found[probe].passed
    assert words in found[probe].summary


@pytest.mark.parametrize("target", TARGETS)
def test_an_empty_restore_is_red_for_every_target(services, monkeypatch, matrix, target):
    site, keys = services
    planted(monkeypatch, everything)
    evidence = site.restore_test(target, keys[target])
    matrix(HEADING, f"empty restore of {target}", "files", evidence.reason[:80])
    assert evidence.passed is False
    assert evidence.reason.startswith("files: nothing was restored")


@pytest.mark.parametrize("target", TARGETS)
def test_without_a_defect_a_service_passes(services, target):
    site, keys = services
    evidence = site.restore_test(target, keys[target])
    assert evidence.passed, evidence.reason


def test_a_secrets_file_that_was_never_there_is_red(services, matrix):
    """The capture cannot list what is missing already; the policy knows that it is needed."""
    site, _ = services
    secrets = site.root / "services/gitlab/config/gitlab-secrets.json"
    kept = secrets.read_bytes()
    secrets.unlink()
    try:
        evidence = site.restore_test("gitlab/config", site.backup("gitlab/config").key)
    finally:
        secrets.write_bytes(kept)
    matrix(HEADING, "secrets file missing", "files", evidence.reason.partition(": ")[2].replace(str(site.root), ""))
    assert evidence.passed is False
    assert "gitlab-secrets.json is required and is missing" in evidence.reason


def test_a_wrong_host_name_is_red(services, matrix):
    site, _ = services
    directory = site.root / "services/certs"
    kept = {name: (directory / name).read_bytes() for name in ("ca.pem", "ca.key", "wildcard.pem", "wildcard.key")}
    authority = Authority("Example Lab CA")
    issued = authority.issue("other", ["*.other.example"])
    made = dict(
        zip(kept, (authority.issued.certificate, authority.issued.key, issued.certificate, issued.key), strict=True)
    )
    for name, content in made.items():
        (directory / name).write_bytes(content)
    try:
        evidence = site.restore_test("certs/ca", site.backup("certs/ca").key)
    finally:
        for name, content in kept.items():
            (directory / name).write_bytes(content)
    matrix(HEADING, "wrong host name", "certificate", evidence.reason.partition(": ")[2].replace(str(site.root), ""))
    assert evidence.passed is False
    assert "does not serve gitlab.lab.example" in evidence.reason


def test_pushes_during_the_capture_do_not_fail_it(services, monkeypatch):
    """References are recorded first; a push that lands while restic reads is neither lost nor a fault."""
    site, _ = services
    repository = site.root / "services/gitlab/repositories" / seed.REPOSITORIES[0]
    stop = threading.Event()

    def pushing():
        while not stop.is_set():
            seed.push(repository, "main", json.dumps({"now": id(stop)}))

    thread = threading.Thread(target=pushing)
    thread.start()
    try:
        keys = [site.backup("gitlab/repositories").key for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for key in keys:
        evidence = site.restore_test("gitlab/repositories", key)
        assert evidence.passed, evidence.reason


def test_a_login_that_the_restored_users_file_does_not_know_is_red(services, matrix):
    """Of a users file with hashes the login is on this host, and must open what was restored."""
    site, keys = services
    declared = (site.root / "services.py").read_text()
    login = site.root / "secrets" / "login"
    login.write_text((site.root / "services/radicale/users").read_text())
    with_login = declared.replace("contains=", "login=HERE.parent / 'secrets/login', contains=")
    (site.root / "services.py").write_text(with_login)
    try:
        assert site.restore_test("radicale/collections", keys["radicale/collections"]).passed
        login.write_text("lab:another password\n")
        evidence = site.restore_test("radicale/collections", keys["radicale/collections"])
    finally:
        (site.root / "services.py").write_text(declared)
    matrix(HEADING, "wrong login", "http", evidence.reason.partition(": ")[2])
    assert f"http: GET /{radicale.EVENT} with credentials: status 401, 200 was expected" in evidence.reason


def test_a_calendar_is_captured_while_the_real_radicale_is_written(services):
    """Events that are added while restic reads are neither lost nor a fault."""
    site, _ = services
    directory = site.root / "services/radicale"
    port = free_port()
    stop = threading.Event()
    command = radicale.command(directory, port)
    with running(command, 5):
        writer = radicale.Writer(directory, f"http://127.0.0.1:{port}")

        def writing():
            while not stop.wait(0.02):
                with suppress(OSError):  # it is starting
                    writer.add()

        thread = threading.Thread(target=writing)
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while len(list((directory / EVENT).parent.glob("event-*.ics"))) < 5:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            keys = [site.backup("radicale/collections").key for _ in range(2)]
        finally:
            stop.set()
            thread.join()
    for key in keys:
        evidence = site.restore_test("radicale/collections", key)
        assert evidence.passed, evidence.reason
        assert evidence.counts["files"] >= 5 + 3
