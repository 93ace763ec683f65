"""The process that plays the services and their users: it writes to each all the while, and answers as Meilisearch.

python -m backup_orchestration.devlab.services HOME PORT RADICALE_PORT OBJECTS_PORT
"""

from __future__ import annotations

import random
import signal
import sqlite3
import sys
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from types import FrameType

from backup_orchestration.core.errors import PostgresError, StoreError
from backup_orchestration.devlab import objects, postgres, radicale
from backup_orchestration.devlab.meilisearch import StandIn
from backup_orchestration.devlab.paths import DevlabPaths
from backup_orchestration.devlab.seed import REPOSITORIES, push

_PAUSE_SECONDS = 1.0


def main(home: Path, port: int, radicale_port: int, objects_port: int) -> None:
    """Play until SIGTERM."""
    paths = DevlabPaths(home)
    stop = Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    key = (paths.secrets / "meilisearch-key").read_text(encoding="utf-8").strip()
    meilisearch = StandIn(port, paths.services / "meilisearch", key)
    Thread(target=meilisearch.serve_forever, daemon=True).start()
    calendar = radicale.Writer(paths.services / "radicale", f"http://127.0.0.1:{radicale_port}")
    database = postgres.server(paths)
    store = objects.Writer(paths, objects_port)
    while not stop.wait(_PAUSE_SECONDS):
        _annotate(paths.services / "grafana" / "grafana.db")
        meilisearch.add(random.choice(("books", "films")))  # noqa: S311 - no secret hangs on it
        name = random.choice(REPOSITORIES)  # noqa: S311
        for write in (calendar.add, partial(postgres.write, database), store.put):
            with suppress(OSError, PostgresError, StoreError):  # one of them was stopped; the others go on
                write()
        push(paths.services / "gitlab" / "repositories" / name, "main", f"{time.time()}\n" * 20)
    meilisearch.shutdown()


def _annotate(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        database.execute("INSERT INTO annotation (epoch, text) VALUES (?, 'deployed')", (int(time.time()),))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
