"""A provider that copies directories: quick, and told by files beside it how to behave. Copied into a site's directory.

`behave.json` holds `{target: {...}}` with any of
    seconds   how long a backup lasts
    until     the backup lasts until this file is there
    meet      the backup waits until this many have started
    child     the backup runs this command and waits for it
    error     the backup raises RuntimeError with this text
    refuse    the backup raises SourceError with this text
    restore_error   the restore raises RuntimeError with this text
    list_error      listing the snapshots raises RuntimeError with this text
    restore_child   the restore runs this command and waits for it
    lie       the backup returns a snapshot of another run
    keeps_all       pruning removes nothing
    unlisted        what `unlisted` gives
`spans.jsonl` gets a line for every backup: target, process, start and end on the monotonic clock of this machine.
`listed.jsonl` gets a line for every listing: target and process.
"""

import json
import os
import secrets
import shutil
import time
from datetime import datetime
from pathlib import Path

from backup_orchestration.core.commands import Command, check
from backup_orchestration.core.errors import RepositoryMissingError, RepositoryVanishedError, SourceError
from backup_orchestration.core.progress import Update
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.providers.base import ByHand, Provider, Repository, RestoreReport, read_back_pruned
from backup_orchestration.providers.capture import captured

HERE = Path(__file__).parent


def behaviour(target):
    path = HERE / "behave.json"
    return json.loads(path.read_text()).get(target, {}) if path.exists() else {}


def append(name, **values):
    with (HERE / name).open("a") as file:
        file.write(json.dumps(values) + "\n")


def wait(condition):
    deadline = time.monotonic() + 180
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("what was waited for did not happen")
        time.sleep(0.02)


class Fake(Provider):
    name = "fake"
    encryption = "none"
    tools = ()
    sources = ("files", "sqlite")

    def open(self, policy, destination, around):
        return FakeRepository(policy, around, self.location(policy, destination).path)

    def location(self, policy, destination):
        return destination.place / f"fake-{policy.slug}"


class FakeRepository(Repository):
    def __init__(self, policy, around, path):
        self._policy = policy
        self._around = around
        self._path = path

    @property
    def location(self):
        return str(self._path)

    def backup(self, spec, progress):
        target = self._policy.target
        told = behaviour(target)
        started = time.monotonic()
        append("started.jsonl", target=target, pid=os.getpid())
        progress(Update("backup", 0.5))
        if "child" in told:
            check(Command(told["child"], 300))
        time.sleep(told.get("seconds", 0))
        wait(lambda: Path(told.get("until", HERE)).exists())
        wait(lambda: len((HERE / "started.jsonl").read_text().splitlines()) >= told.get("meet", 0))
        if "error" in told:
            raise RuntimeError(told["error"])
        if "refuse" in told:
            raise SourceError(told["refuse"], remedy="mount it")
        snapshot = self._store(spec)
        append("spans.jsonl", target=target, pid=os.getpid(), start=started, end=time.monotonic())
        return snapshot

    def _store(self, spec):
        if not (self._path / "id").exists():
            if not spec.create:
                raise RepositoryVanishedError(f"{self._path} is gone")
            self._path.mkdir(parents=True)
            (self._path / "id").write_text(secrets.token_hex(16))
        name = secrets.token_hex(16)
        kept = self._path / "snapshots" / name
        with captured(self._policy, spec, self._around.staging, self._around.now) as capture:
            for source in capture.paths:
                there = kept / "tree" / str(source).lstrip("/")
                there.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, there, symlinks=True)
                else:
                    shutil.copy2(source, there)
            facts = {
                "run": spec.run_id,
                "taken_at": capture.started_at.isoformat(),
                "paths": [str(path) for path in capture.paths],
                "finished_at": self._around.now().isoformat(),
                "bytes": capture.totals.bytes,
                "files": capture.totals.files,
            }
        (kept / "facts.json").write_text(json.dumps(facts))
        found = self._snapshot(name)
        if behaviour(self._policy.target).get("lie"):
            return next(item for item in self.snapshots() if item.snapshot_id != name)
        return found

    def snapshots(self):
        append("listed.jsonl", target=self._policy.target, pid=os.getpid())
        if "list_error" in behaviour(self._policy.target):
            raise RuntimeError(behaviour(self._policy.target)["list_error"])
        if not (self._path / "id").exists():
            raise RepositoryMissingError(f"{self._path} holds no repository")
        names = [path.parent.name for path in self._path.glob("snapshots/*/facts.json")]
        return sorted(map(self._snapshot, names), key=lambda item: (item.taken_at, item.snapshot_id))

    def restore(self, snapshot, into, progress):
        told = behaviour(self._policy.target)
        if "restore_error" in told:
            raise RuntimeError(told["restore_error"])
        append("restored.jsonl", key=snapshot.key, pid=os.getpid())
        if "restore_child" in told:
            check(Command(told["restore_child"], 300))
        shutil.copytree(self._path / "snapshots" / snapshot.snapshot_id / "tree", into.directory, symlinks=True,
                        dirs_exist_ok=True)  # fmt: skip
        return RestoreReport(into.directory, snapshot.counts["files"], snapshot.size_bytes, 0.01, 1)

    def prune(self, plan, progress):
        append("pruned.jsonl", keys=[item.key for item in plan.removed])
        for snapshot in plan.removed:
            if "keeps_all" not in behaviour(self._policy.target):
                shutil.rmtree(self._path / "snapshots" / snapshot.snapshot_id)
        return read_back_pruned(plan, self.snapshots())

    def unlisted(self):
        return behaviour(self._policy.target).get("unlisted", ())

    def by_hand(self):
        kept = f"{self._path}/snapshots"
        return ByHand((), f"ls {kept}", (f'cp -a {kept}/"$SNAPSHOT"/tree restored',))

    def _snapshot(self, name):
        facts = json.loads((self._path / "snapshots" / name / "facts.json").read_text())
        return Snapshot(
            target=self._policy.target,
            provider="fake",
            repository=str(self._path),
            repository_id=(self._path / "id").read_text(),
            snapshot_id=name,
            taken_at=datetime.fromisoformat(facts["taken_at"]),
            size_bytes=facts["bytes"],
            counts={"files": facts["files"]},
            paths=tuple(facts["paths"]),
            run_id=facts["run"],
            finished_at=datetime.fromisoformat(facts["finished_at"]),
        )
