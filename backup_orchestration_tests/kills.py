"""Runs of the real restic that are met in the midst of their work, and what is left when they were killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from running import Brake, Started, family, parent, patience, tool, wait_until

TOOL_VERB = {"run": "backup", "restore-test": "restore", "restore": "restore"}
MEGABYTE = 1 << 20
NEXT_SECONDS = 10


def fill(directory, megabytes, parts=8):
    """Fill a directory with data that does not compress."""
    directory.mkdir()
    for number in range(parts):
        (directory / f"part-{number}").write_bytes(os.urandom(megabytes * MEGABYTE // parts))
    return directory


def proven_site(root, make_site, start_repository):
    """A site whose only snapshot is verified."""
    site = start_repository(make_site(root), "app/files")
    site.backup()
    assert site.restore_test().passed
    return site


def files_of(path):
    """Source of a policy: a directory anywhere."""
    return f'BackupPolicy(target="app/files", source=Files(path={str(path)!r}))'


def copy_site(site, root, home):
    """A copy of a site below another directory. Files of a repository are never changed: links are enough."""
    shutil.copytree(site.root / "backups", root / "backups", copy_function=os.link)
    for name in ("data", "evidence", "secrets"):
        shutil.copytree(site.root / name, root / name, symlinks=True)
    shutil.copy2(site.root / "services.py", root)
    # By a command, the password goes through a file of ours.
    by_command = f'command = ["cat", "{root}/secrets/password"]'
    settings = (site.root / "homelab.toml").read_text()
    (root / "homelab.toml").write_text(settings.replace('file = "secrets/password"', by_command))
    (root / ".homelab").mkdir(mode=0o700)
    shutil.copytree(home, root / ".homelab" / "dagster")
    (root / "tmp").mkdir()
    return type(site)(root)


@dataclass(frozen=True)
class Known:
    """What counts: keys of snapshots, number of restore tests, the recovery point."""

    snapshots: tuple[str, ...]
    tests: int
    point: str | None


def known(site, target="app/files"):
    found = site.judge(target)
    return Known(
        tuple(item.key for item in site.homelab.repository(target).snapshots()),
        len(site.homelab.evidence().ledger(target, "default").records),
        found.recovery_point.key if found.recovery_point else None,
    )


def begin(site, *arguments, **more):
    """A command in the background, whose temporary files lie in the site."""
    return Started(site, "backup", *arguments, env={"TMPDIR": str(site.root / "tmp")}, **more)


def transferred(site, verb):
    """Whether the first byte has gone over: into the repository, into the lab, or beside the place."""
    places = {
        "run": "backups/restic-app-files/data/*/*",
        "restore-test": ".homelab/labs/**/*",
        "restore": "there.partial-*/data/**/*",
    }
    return sum(_blocks(path) for path in site.root.glob(places[verb]))


def _blocks(path):
    with suppress(FileNotFoundError):
        if path.is_file() and not path.is_symlink():
            return path.stat().st_blocks
    return 0


def tool_begins(site, verb, seconds=90):
    return wait_until(lambda: tool(site, TOOL_VERB[verb]), seconds)


class MissedError(Exception):
    """What was to be killed had ended."""


@contextmanager
def in_flight(site, verb, delay):
    """The tool's process id, after its first transferred byte and so many seconds; braked in the block.

    Raises `MissedError` when it has ended before.
    """
    before = transferred(site, verb)
    pid = tool_begins(site, verb)
    with Brake(pid) as brake:
        wait_until(lambda: transferred(site, verb) > before)
        brake.hard()
        time.sleep(delay)
        with brake.held():
            if tool(site, TOOL_VERB[verb]) != pid:
                raise MissedError
            assert transferred(site, verb) > before
        yield pid


# What may lie about until the next command. Everybody else puts away what is his.
LEAVES = {
    ("worker", signal.SIGKILL): {"lab", "lock", "secret", "staging"},
    ("tool", signal.SIGKILL): {"lock"},
}


def victim_of(command, pid, who):
    return {"command": command.process.pid, "worker": parent(pid), "tool": pid}[who]


def left(site):
    """What lies about: by kind, the names."""
    home = site.root / ".homelab"
    places = {
        "lab": home.glob("labs/*"),
        "lock": site.root.glob("backups/restic-app-files/locks/*"),
        "staging": home.glob("staging/*/*"),
        "secret": home.glob("run/*"),
        "temporary": (path for path in site.root.glob("tmp/*") if path.name.startswith(("homelab", "witness"))),
    }
    return {kind: names for kind, paths in places.items() if (names := sorted(path.name for path in paths))}


def runs(site):
    """State of every run in Dagster, newest first, and the slots of pools that are held."""
    from backup_orchestration.orchestration.instance import open_instance

    with open_instance(site.homelab) as instance:
        states = [run.status.value for run in instance.get_runs()]
        storage = instance.event_log_storage
        held = sum(storage.get_concurrency_info(key).active_slot_count for key in storage.get_concurrency_keys())
    return states, held


def gone(site, *pids):
    """These, or all that work for a site, are not alive any more within 5 seconds."""
    try:
        wait_until(lambda: not (set(pids or family(site)) & set(family(site))), patience(5))
    except AssertionError as error:
        raise AssertionError(f"still alive: {family(site)}") from error


def kill_and_look(site, verb, who, number, delay):
    """Kill somebody in the midst of a run, look at what is left, and run the same again; returns what was found."""
    while True:
        before = known(site)
        command = begin(site, verb, "--all")
        with suppress(MissedError), in_flight(site, verb, delay) as pid:
            os.kill(victim_of(command, pid, who), number)
            command.end()
        if (code := command.end()) != 0:
            break
        delay /= 2  # too late: it has ended as it should, and is begun anew
    assert code == (-number if (who, number) == ("command", signal.SIGKILL) else 1), command.said()
    assert code < 0 or "failed: " in command.said() or "interrupted: " in command.said()
    gone(site)
    found = left(site)
    assert set(found) <= LEAVES.get((who, number), set()), found
    assert known(site) == before, command.said()
    next_one_works(site, verb, before)
    return f"exit code {code}", ", ".join(found) or "nothing"


def next_one_works(site, verb, before, others=0):
    """The next command begins to work within 10 seconds, waits for nobody, succeeds, and leaves nothing.

    With `others`, so many runs go on beside it: it may wait for them, and they succeed too.
    """
    following = begin(site, verb, "--all")
    tool_begins(site, verb, patience(NEXT_SECONDS))
    assert following.end() == 0, following.said()
    assert others or "waiting" not in following.said()
    wait_until(lambda: not others or "STARTED" not in runs(site)[0])
    after = known(site)
    new = (len(after.snapshots) - len(before.snapshots), after.tests - before.tests)
    assert new == ((1 + others, 0) if verb == "run" else (0, 1 + others))
    assert verb == "run" or after.point == after.snapshots[-1]
    assert not left(site)
    states, slots = runs(site)
    assert states[0] == "SUCCESS" and set(states[1:2]) <= ({"SUCCESS"} if others else {"FAILURE", "CANCELED"}), states
    assert slots == 0


def kill_restore_and_look(site, who, number, delay):
    """Kill somebody in the midst of a restore to `there`, look at what is left, and do the same again."""
    key = site.homelab.repository("app/files").latest().key
    wanted = ("restore", "--target", "app/files", "--snapshot", key, "--to", str(site.root / "there"))
    command = begin(site, *wanted)
    with in_flight(site, "restore", delay) as pid:
        os.kill(victim_of(command, pid, who), number)
        code = command.end()
    assert code == (-number if (who, number) == ("command", signal.SIGKILL) else 1), command.said()
    gone(site)
    assert not (site.root / "there").exists()
    partial = sorted(path.name for path in site.root.glob("there.partial-*"))
    assert not partial or (who, number) == ("worker", signal.SIGKILL), partial
    planned = site.cli("backup", *wanted, "--plan")
    assert [name for name in partial if name not in planned.stdout] == []
    again = begin(site, *wanted)
    assert again.end() == 0, again.said()
    assert sorted(path.name for path in site.root.glob("there*")) == ["there"]
    assert not left(site)
    source, *_ = site.homelab.policy("app/files").source.paths
    for path in source.iterdir():
        assert (site.root / "there" / str(path)[1:]).read_bytes() == path.read_bytes()
    return f"exit code {code}", "a directory beside the place" if partial else "nothing"
