"""A restic that does what a table says. Copied into a directory of its own and run there, never imported.

`answers.json` beside it holds for each verb a list with one answer a call: null does what restic would do, as far
as the tests need it; an object may give `code`, `stderr`, and `stdout` instead of what restic would print; with
`skip` nothing is done besides; with `leaves` the call leaves this lock. After the last answer restic behaves.
`calls.jsonl` gets a line for every call.
"""

import hashlib
import json
import os
import stat
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(arguments):
    verb = next(word for word in arguments if not word.startswith("-"))
    earlier = remember(verb, arguments)
    table = HERE / "answers.json"
    answers = json.loads(table.read_text()).get(verb, []) if table.exists() else []
    answer = (answers[earlier] if earlier < len(answers) else None) or {}
    printed, code = ("", 0) if answer.get("skip") else globals()[f"do_{verb}"](arguments)
    sys.stdout.write(answer.get("stdout", printed))
    sys.stderr.write(answer.get("stderr", ""))
    sys.stdout.flush()
    if lock := answer.get("leaves"):
        (repository().parent / "locks").mkdir(exist_ok=True)
        (repository().parent / "locks" / ("c" * 64)).write_text(json.dumps(lock))
    if answer.get("signal"):
        os.kill(os.getpid(), answer["signal"])
    return answer.get("code", code)


def remember(verb, arguments):
    calls = HERE / "calls.jsonl"
    earlier = [json.loads(line)["verb"] for line in calls.read_text().splitlines()] if calls.exists() else []
    call = {"verb": verb, "argv": arguments, "env": dict(os.environ), "password": None}
    if file := os.environ.get("RESTIC_PASSWORD_FILE"):
        mode = stat.S_IMODE(os.stat(file).st_mode)
        call["password"] = {"sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest(), "mode": mode, "path": file}
    with calls.open("a") as out:
        out.write(json.dumps(call) + "\n")
    return earlier.count(verb)


def repository():
    return Path(os.environ["RESTIC_REPOSITORY"]) / "fake.json"


def option(arguments, name):
    return [arguments[at + 1] for at, word in enumerate(arguments) if word == name]


def do_cat(arguments):
    if not repository().exists():
        return "", 10
    if "lock" in arguments:
        return (repository().parent / "locks" / arguments[-1]).read_text(), 0
    return json.dumps({"version": 2, "id": json.loads(repository().read_text())["id"]}), 0


def do_init(arguments):
    if repository().exists():
        return "", 1
    repository().parent.mkdir(parents=True)
    identity = hashlib.sha256(os.urandom(32)).hexdigest()
    repository().write_text(json.dumps({"id": identity, "snapshots": []}))
    return json.dumps({"message_type": "initialized", "id": identity}) + "\n", 0


def do_backup(arguments):
    held = json.loads(repository().read_text())
    names = [Path(path) for path in arguments[arguments.index("--") + 1 :]]
    stdin = option(arguments, "--stdin-filename")
    files = [] if stdin else [path for name in names for path in (name, *name.rglob("*")) if path.is_file()]
    snapshot = {
        "id": hashlib.sha256(os.urandom(32)).hexdigest(),
        "time": option(arguments, "--time")[0].replace(" ", "T") + "Z",
        "paths": [f"/{stdin[0]}"] if stdin else [str(name) for name in names],
        "hostname": option(arguments, "--host")[0],
        "tags": option(arguments, "--tag"),
        "summary": {
            "total_files_processed": 1 if stdin else len(files),
            "total_bytes_processed": 5 if stdin else sum(path.stat().st_size for path in files),
        },
    }
    held["snapshots"].append(snapshot)
    repository().write_text(json.dumps(held))
    lines = [
        {"message_type": "status", "percent_done": 0.5},
        {"message_type": "summary", "snapshot_id": snapshot["id"], **snapshot["summary"]},
    ]
    return "".join(json.dumps(line) + "\n" for line in lines), 0


def do_snapshots(arguments):
    if not repository().exists():
        return "", 10
    wanted = {tag for tags in option(arguments, "--tag") for tag in tags.split(",")}
    held = json.loads(repository().read_text())["snapshots"]
    return json.dumps([item for item in held if wanted <= set(item["tags"])]), 0


def do_forget(arguments):
    held = json.loads(repository().read_text())
    held["snapshots"] = [item for item in held["snapshots"] if item["id"] not in arguments]
    repository().write_text(json.dumps(held))
    return "", 0


def do_prune(arguments):
    return "", 0


def do_restore(arguments):
    """Restores nothing and says so truthfully; what a test wants beyond that it says in the table."""
    return json.dumps({"message_type": "summary"}) + "\n", 0


sys.exit(main(sys.argv[1:]))
