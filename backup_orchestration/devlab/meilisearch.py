"""A STAND-IN for Meilisearch: statistics, dumps in its format, health. Nothing of the real one runs here."""

from __future__ import annotations

import io
import json
import tarfile
import time
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from backup_orchestration.devlab.json_answers import JsonHandler


class StandIn(ThreadingHTTPServer):
    """Holds documents in memory and in one file.

    Args:
        port: on the loopback address.
        directory: with `documents.json` and `dumps`.
        key: every request but `/health` must carry it.
    """

    daemon_threads = True

    def __init__(self, port: int, directory: Path, key: str) -> None:
        self.directory = directory
        self.key = key
        self.lock = Lock()
        self.documents = json.loads((directory / "documents.json").read_text(encoding="utf-8"))
        self.dumps: list[str] = []
        super().__init__(("127.0.0.1", port), _Handler)

    def add(self, index: str) -> None:
        """Index one more document."""
        with self.lock:
            held = self.documents[index]
            held.append({"id": len(held), "title": f"one more, {len(held)}"})

    def dump(self) -> int:
        """Write a dump; returns the number of its task."""
        with self.lock:
            documents = {name: list(held) for name, held in self.documents.items()}
            task = len(self.dumps)
            name = f"{time.strftime('%Y%m%d-%H%M%S')}{task:03}"
            self.dumps.append(name)
        with tarfile.open(self.directory / "dumps" / f"{name}.dump", "w:gz") as archive:
            _add(archive, "metadata.json", json.dumps({"dumpVersion": "V6", "dbVersion": "stand-in"}))
            for index, held in documents.items():
                _add(archive, f"indexes/{index}/metadata.json", json.dumps({"uid": index, "primaryKey": "id"}))
                lines = "".join(f"{json.dumps(document)}\n" for document in held)
                _add(archive, f"indexes/{index}/documents.jsonl", lines)
        return task


class _Handler(JsonHandler):
    server: StandIn

    def do_GET(self) -> None:  # noqa: N802 - http.server names it
        """`/health`, `/stats`, `/tasks/<uid>`."""
        if self.path == "/health":
            self.answer(HTTPStatus.OK, {"status": "available"})
        elif self._allowed() and self.path == "/stats":
            with self.server.lock:
                counts = {name: {"numberOfDocuments": len(held)} for name, held in self.server.documents.items()}
            self.answer(HTTPStatus.OK, {"indexes": counts})
        elif self._allowed() and self.path.startswith("/tasks/"):
            name = self.server.dumps[int(self.path.rpartition("/")[2])]
            self.answer(HTTPStatus.OK, {"status": "succeeded", "details": {"dumpUid": name}})
        elif self._allowed():
            self.answer(HTTPStatus.NOT_FOUND, {"message": "this stand-in does not know that"})

    def do_POST(self) -> None:  # noqa: N802 - http.server names it
        """`/dumps`."""
        if self._allowed():
            self.answer(HTTPStatus.ACCEPTED, {"taskUid": self.server.dump()})

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.server.key}":
            return True
        self.answer(HTTPStatus.UNAUTHORIZED, {"message": "the key is missing or wrong"})
        return False


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
