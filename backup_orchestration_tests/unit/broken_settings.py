"""The table of broken settings and contributor files: each line is one installation with one mistake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PASSWORD = 'password = { file = "secrets/password" }'
KEY = 'key = { file = "secrets/evidence-key" }'
CONTRIBUTORS = 'contributors = ["./services.py"]'
SECRETS = ("correct horse battery", "staple of evidence", "hunter2-literal")
FILES = 'source=Files(path=str(HERE / "data"))'


@dataclass
class Broken:
    """One mistake.

    Attributes:
        name: printed by `pytest -rA`.
        file: the file that the message must name.
        field: what it must name in that file.
        remedy: a piece of what it tells to do.
        settings: replacements in homelab.toml.
        policies: instead of the one that is declared.
        services: whole text of services.py.
        arrange: done to the site's directory besides.
        env: environment besides.
    """

    name: str
    file: str
    field: str
    remedy: str
    settings: dict[str, str] = field(default_factory=dict)
    policies: tuple[str, ...] = ()
    services: str = ""
    arrange: Callable[[Path], object] = lambda root: None
    env: dict[str, str] = field(default_factory=dict)


def settings(name: str, says: str, remedy: str, **replacements: str) -> Broken:
    parts = {"password": PASSWORD, "key": KEY, "contributors": CONTRIBUTORS}
    changed = {parts[what]: text for what, text in replacements.items()}
    return Broken(name, "homelab.toml", says, remedy, changed)


def policy(name: str, says: str, remedy: str, *policies: str) -> Broken:
    return Broken(name, "services.py", says, remedy, policies=policies)


def services(name: str, says: str, remedy: str, text: str) -> Broken:
    return Broken(name, "services.py", says, remedy, services=text)


def one(fields: str) -> str:
    return f'BackupPolicy(target="app/files", {fields})'


def chained(target: str, after: str | None = None, more: str = "") -> str:
    return f'BackupPolicy(target="{target}", {FILES}, after={after!r}{more})'


def bucket(key: str) -> str:
    keys = f'access_key=SecretRef(file=HERE / "{key}"), secret_key=SecretRef(file=HERE / "secrets/password")'
    return one(f'provider="minio-mirror", source=Bucket(endpoint="https://x", bucket="abc", {keys})')


TABLE = [
    # The settings file itself.
    settings("unknown-field", "retentions", "remove retentions", contributors=f"retentions = 3\n{CONTRIBUTORS}"),
    settings(
        "unknown-field-in-a-table",
        "destinations.default.passwort",
        "spelling",
        password=f'{PASSWORD}\npasswort = "hunter2-literal"',
    ),
    settings("missing-field", "evidence.key", "add evidence.key", key=""),
    settings("wrong-type", "contributors", "correct contributors", contributors='contributors = "./services.py"'),
    settings(
        "wrong-type-in-a-table",
        "destinations.other.location",
        "correct destinations.other.location",
        password=f"{PASSWORD}\n[destinations.other]\nlocation = 7\n{PASSWORD}",
    ),
    settings(
        "no-patience",
        "destinations.default.patience",
        "correct destinations.default.patience",
        password=f"patience = 0\n{PASSWORD}",
    ),
    settings("not-toml", "line 1", "correct that line", contributors="contributors: [./services.py]"),
    settings(
        "bad-destination-name",
        "destinations.Far Away",
        "correct",
        key=f'{KEY}\n[destinations."Far Away"]\nlocation = "far"\n{PASSWORD}',
    ),
    Broken(
        "not-text",
        "homelab.toml",
        "not TOML",
        "correct",
        arrange=lambda root: (root / "homelab.toml").write_bytes(b"\xff\xfe=1"),
    ),
    Broken(
        "no-settings",
        "homelab.toml",
        "no settings",
        "homelab init",
        arrange=lambda root: (root / "homelab.toml").unlink(),
    ),
    Broken(
        "variable-points-nowhere",
        "nowhere.toml",
        "HOMELAB_SETTINGS",
        "correct HOMELAB_SETTINGS",
        env={"HOMELAB_SETTINGS": "nowhere.toml"},
    ),
    Broken(
        "settings-are-a-directory",
        "homelab.toml",
        "no settings",
        "homelab init",
        arrange=lambda root: [(root / "homelab.toml").unlink(), (root / "homelab.toml").mkdir()],
    ),
    # Secrets.
    settings(
        "literal-password",
        "destinations.default.password",
        "correct destinations.default.password",
        password='password = "hunter2-literal"',
    ),
    settings(
        "secret-in-two-places",
        "destinations.default.password",
        "correct destinations.default.password",
        password='password = { file = "secrets/password", env = "X" }',
    ),
    settings(
        "secret-file-missing",
        "destinations.default.password",
        "put the secret into",
        password='password = { file = "secrets/passwd" }',
    ),
    settings("secret-not-in-the-environment", "evidence.key", "set EVIDENCE_KEY", key='key = { env = "EVIDENCE_KEY" }'),
    settings(
        "notification-secret-missing",
        "notifications.phone.url",
        "put the secret into",
        key=f'{KEY}\n[notifications.phone]\nurl = {{ name = "phone-url" }}',
    ),
    Broken(
        "secret-empty",
        "homelab.toml",
        "evidence.key",
        "fill file secrets/evidence-key",
        arrange=lambda root: (root / "secrets/evidence-key").write_text(" \n"),
    ),
    Broken(
        "secret-unreadable",
        "homelab.toml",
        "destinations.default.password",
        "owner and mode",
        arrange=lambda root: [(root / "secrets/password").unlink(), (root / "secrets/password").mkdir()],
    ),
    Broken(
        "evidence-key-inside-the-store",
        "homelab.toml",
        "evidence.key",
        "move the secret out of it",
        {KEY: 'key = { file = "backups/evidence-key" }'},
        arrange=lambda root: [(root / "backups").mkdir(), (root / "backups/evidence-key").write_text(SECRETS[1])],
    ),
    Broken(
        "password-inside-the-evidence-by-a-link",
        "homelab.toml",
        "destinations.default.password",
        "move the secret out of it",
        {PASSWORD: 'password = { name = "linked" }'},
        arrange=lambda root: [
            (root / "evidence").mkdir(),
            shutil.move(root / "secrets/password", root / "evidence/password"),
            (root / "secrets/linked").symlink_to("../evidence/password"),
        ],
    ),
    # Contributors that cannot be loaded.
    settings(
        "module-not-importable",
        "contributors",
        "remove it from contributors",
        contributors='contributors = ["no_such_module_here"]',
    ),
    settings(
        "contributor-file-missing",
        "./nowhere.py",
        "remove it from contributors",
        contributors='contributors = ["./nowhere.py"]',
    ),
    settings(
        "no-such-name-in-it",
        "./services.py:other",
        "name the object 'other'",
        contributors='contributors = ["./services.py:other"]',
    ),
    settings("no-policies-declared", "declares no policy", "name a contributor", contributors=""),
    settings(
        "provider-that-is-none",
        "providers: ./services.py:contributor",
        "derive it from",
        contributors=f'providers = ["./services.py:contributor"]\n{CONTRIBUTORS}',
    ),
    services("syntax-error", "SyntaxError", "correct it", "def policies(:\n"),
    services("fails-when-imported", "ZeroDivisionError", "correct it", "1 / 0\n"),
    services("exits-when-imported", "SystemExit", "correct it", "import sys\nsys.exit(0)\n"),
    services(
        "bad-policy-when-imported",
        "BackupPolicy: cron",
        "correct cron",
        "from backup_orchestration import *\nBackupPolicy(target='a/b', source=Files(path='/a'), cron='daily')\n",
    ),
    services(
        "without-policies",
        "has no policies()",
        "give it a method policies()",
        "class Empty:\n    pass\ncontributor = Empty()\n",
    ),
    services(
        "policies-raise",
        "policies() failed: KeyError",
        "correct it",
        "class Raises:\n    def policies(self):\n        return {}['app']\ncontributor = Raises()\n",
    ),
    services(
        "policies-exit",
        "policies() failed: SystemExit",
        "correct it",
        "class Exits:\n    def policies(self):\n        raise SystemExit(0)\ncontributor = Exits\n",
    ),
    services(
        "constructor-fails",
        "Needs() failed: TypeError",
        "correct it",
        "class Needs:\n    def __init__(self, url):\n        self.policies = lambda: []\ncontributor = Needs\n",
    ),
    services(
        "policies-give-something-else",
        "policies() gave a str",
        "return a list of BackupPolicy",
        "class Wrong:\n    def policies(self):\n        return ['app/files']\ncontributor = Wrong()\n",
    ),
    # Policies that are wrong in themselves.
    policy("bad-cron", "BackupPolicy: cron", "correct cron", one(f'{FILES}, cron="61 2 * * *"')),
    policy("cron-that-never-comes", "BackupPolicy: cron", "correct cron", one(f'{FILES}, cron="0 2 31 2 *"')),
    policy("bad-time-zone", "BackupPolicy: timezone", "correct timezone", one(f'{FILES}, timezone="Middle-earth"')),
    policy("wrong-type-in-a-policy", "BackupPolicy: retention", "correct retention", one(f"{FILES}, retention=7")),
    policy(
        "unknown-field-in-a-policy", "BackupPolicy: schedule", "remove schedule", one(f'{FILES}, schedule="0 2 * * *"')
    ),
    policy("secret-of-a-source-missing", "source.access_key", "put the secret into", bucket("secrets/none")),
    policy("mirror-in-a-directory", "app/files: destination", "starts with s3://", bucket("secrets/password")),
    policy("relative-source", "Files: path", "correct path", one('source=Files(path="data")')),
    policy(
        "exclusion-swallows-the-root",
        "would leave nothing",
        "correct",
        one('source=Files(path=str(HERE / "data"), exclude=["dat?"])'),
    ),
    # Policies that do not fit the rest.
    policy("two-targets-of-one-name", "app/files: target", "rename one of the two", one(FILES), one(FILES)),
    policy(
        "two-targets-in-one-repository",
        "a/b-c: target",
        "rename one of the two",
        f'BackupPolicy(target="a-b/c", {FILES})',
        f'BackupPolicy(target="a/b-c", {FILES})',
    ),
    Broken(
        "two-targets-in-one-staging-directory",
        "services.py",
        "a/b-c: target",
        "rename one of the two",
        {KEY: f'{KEY}\n[destinations.far]\nlocation = "far"\n{PASSWORD}'},
        (f'BackupPolicy(target="a-b/c", {FILES}, destination="far")', f'BackupPolicy(target="a/b-c", {FILES})'),
    ),
    policy(
        "repository-inside-its-source",
        "app/files: source",
        "exclude it in the policy",
        one("source=Files(path=str(HERE))"),
    ),
    Broken(
        "state-inside-the-source",
        "services.py",
        "contains `home`",
        "exclude it in the policy",
        {CONTRIBUTORS: f'{CONTRIBUTORS}\nhome = "data/state"'},
        (one(FILES),),
    ),
    Broken(
        "evidence-inside-the-source-by-a-link",
        "services.py",
        "contains the evidence",
        "exclude it in the policy",
        {'location = "evidence"': 'location = "linked"'},
        (one(FILES),),
        arrange=lambda root: (root / "linked").symlink_to("data/sub"),
    ),
    policy("unknown-destination", "destinations.far", "choose one of: default", one(f'{FILES}, destination="far"')),
    policy(
        "unknown-provider",
        "provider",
        "choose one of: minio-mirror, pgbackrest, restic",
        one(f'{FILES}, provider="rustic"'),
    ),
    policy(
        "unknown-probe",
        "restore_test.probes.smell",
        "choose one of: amcheck, certificate, checksums, documents, files, git, http, objects, sql, sqlite",
        one(f'{FILES}, restore_test=RestoreTest(probes=["smell"])'),
    ),
    policy(
        "bad-probe-option",
        "restore_test.probes.sqlite: options: min_rows.users",
        "correct min_rows.users",
        one(
            f"{FILES}, restore_test=RestoreTest("
            'probes=[Probe(name="sqlite", options={"min_rows": {"users": "3"}})])'
        ),
    ),
    policy(
        "unknown-probe-option",
        "restore_test.probes.sqlite: options: rows",
        "remove rows",
        one(f'{FILES}, restore_test=RestoreTest(probes=[Probe(name="sqlite", options={{"rows": 3}})])'),
    ),
    policy(
        "probe-that-cannot-look-at-it",
        "restore_test.probes.sqlite",
        "it understands: files, sqlite",
        one('source=Dump(command=["true"], filename="x.sql"), restore_test=RestoreTest(probes=["sqlite"])'),
    ),
    # Orders that cannot be kept.
    policy(
        "after-an-unknown-target", "app/b: after", "choose one of: app/a", chained("app/a"), chained("app/b", "app/c")
    ),
    policy(
        "after-itself",
        "app/a: after: it would have to wait for itself: app/a after app/a",
        "leave `after` away",
        chained("app/a", "app/a"),
    ),
    policy(
        "after-one-another",
        "app/a: after: it would have to wait for itself: app/a after app/c after app/b after app/a",
        "leave `after` away in one of them",
        chained("app/a", "app/c"),
        chained("app/b", "app/a"),
        chained("app/c", "app/b"),
    ),
    policy(
        "after-one-of-another-zone",
        "app/b: after: it is due by Europe/Berlin, app/a by UTC",
        "give both one timezone",
        chained("app/a"),
        chained("app/b", "app/a", ', timezone="Europe/Berlin"'),
    ),
    policy(
        "two-applications-of-one-name",
        "app/c: after: it begins a second application called app, beside app/a",
        "declare one `after` the other",
        chained("app/a"),
        chained("app/b", "app/a"),
        chained("app/c"),
        chained("app/d", "app/c"),
    ),
    policy("bad-after", "BackupPolicy: after", "correct after", chained("app/a", "app")),
]
