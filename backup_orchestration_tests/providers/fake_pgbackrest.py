"""A pgBackRest that does what a table says. Copied into a directory of its own and run there, never imported.

`answers.json` beside it holds for each command a list with one answer a call: null does what pgBackRest would do, as
far as the tests need it; an object may give `code`, `stderr`, and `stdout` instead of what it would print; with `skip`
nothing is done besides; `change` is written over the backup that was made. After the last answer it behaves.
`calls.jsonl` gets a line for every call.
"""

import json
import os
import stat
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = ("info", "stanza-create", "check", "backup", "restore", "repo-get", "repo-ls", "archive-get")


def main(arguments):
    verb = next(word for word in arguments if word in COMMANDS)
    options = dict(word[2:].partition("=")[::2] for word in arguments if word.startswith("--"))
    notes = [word[13:].partition("=") for word in arguments if word.startswith("--annotation=")]
    options["annotations"] = {name: value for name, _, value in notes}
    earlier = remember(verb, arguments, options)
    table = HERE / "answers.json"
    answers = json.loads(table.read_text()).get(verb, []) if table.exists() else []
    answer = (answers[earlier] if earlier < len(answers) else None) or {}
    printed, code = ("", 0) if answer.get("skip") else globals()["do_" + verb.replace("-", "_")](options, answer)
    sys.stdout.write(answer.get("stdout", printed))
    sys.stderr.write(answer.get("stderr", ""))
    return answer.get("code", code)


def remember(verb, arguments, options):
    calls = HERE / "calls.jsonl"
    earlier = [json.loads(line)["verb"] for line in calls.read_text().splitlines()] if calls.exists() else []
    config = Path(options["config"])
    call = {
        "verb": verb,
        "argv": arguments,
        "env": dict(os.environ),
        "config": {"text": config.read_text(), "mode": stat.S_IMODE(config.stat().st_mode), "path": str(config)},
    }
    with calls.open("a") as out:
        out.write(json.dumps(call) + "\n")
    return earlier.count(verb)


def repository(options):
    lines = Path(options["config"]).read_text().splitlines()
    return Path(next(line for line in lines if line.startswith("repo1-path="))[11:]) / "fake.json"


def do_info(options, answer):
    path, status = repository(options), {"code": 1, "message": "missing stanza path"}
    held = {"backup": [], "db": [], "archive": []}
    if path.exists():
        held = json.loads(path.read_text())
        status = {"code": 0, "message": "ok"} if held["backup"] else {"code": 2, "message": "no valid backups"}
    return json.dumps(
        [{"name": options["stanza"], "repo": [{"key": 1, "status": status}], "status": status, **held}]
    ), 0


def do_stanza_create(options, answer):
    path = repository(options)
    path.parent.mkdir(parents=True, exist_ok=True)
    database = {"id": 1, "repo-key": 1}
    held = {
        "backup": [],
        "db": [{**database, "system-id": 7, "version": "15"}],
        "archive": [{"id": "15-1", "database": database, "min": "0" * 24, "max": "F" * 24}],
    }
    path.write_text(json.dumps(held))
    return "", 0


def do_check(options, answer):
    return "", 0


def do_backup(options, answer):
    path = repository(options)
    held = json.loads(path.read_text())
    kind, number = options["type"], len(held["backup"])
    if not held["backup"]:
        kind = "full"
    made = {
        "label": f"20261123-0200{number:02}{kind[0].upper()}",
        "type": kind,
        "annotation": options["annotations"],
        "archive": {"start": "0" * 24, "stop": "0" * 24},
        "database": {"id": 1, "repo-key": 1},
        "error": False,
        "info": {"size": 1000, "delta": 1000, "repository": {"size": 300, "delta": 300}},
        "lsn": {"start": "0/2000028", "stop": "0/3000050"},
        "reference": None,
        "timestamp": {"start": 1795399200 + number, "stop": 1795399205 + number},
        **answer.get("change", {}),
    }
    held["backup"].append(made)
    path.write_text(json.dumps(held))
    line = "2026-11-23 02:00:00.000 P01 DETAIL: backup file /data/base/1/1 (bundle 1/0, 8KB, {}%) checksum 00\n"
    return line.format("40.00") + line.format("100.00"), 0


def do_restore(options, answer):
    """Restores nothing; what a test wants beyond that it says in the table."""
    return "", 0


def do_repo_get(options, answer):
    return '[cipher]\ncipher-pass="a key"\n', 0


def do_repo_ls(options, answer):
    return '{".":{"type":"path"}}', 0


def do_archive_get(options, answer):
    return "", 1


sys.exit(main(sys.argv[1:]))
