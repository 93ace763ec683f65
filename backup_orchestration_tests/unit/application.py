"""A small application for the tests of the probe `http`: `application.py PORT ROOT HOW`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

PORT, ROOT, HOW = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        getattr(self, f"get_{self.path.strip('/').partition('/')[0] or 'root'}")()

    def get_root(self):
        self.answer(404 if HOW != "warming" else 503)

    def get_notes(self):
        self.answer(200, (ROOT / "srv/notes/today.txt").read_bytes())

    def get_secret(self):
        known = (ROOT / "srv/notes/token").read_text().strip()
        given = self.headers.get("Authorization"), self.headers.get("X-Key")
        sys.stderr.write(f"asked with {given}\n")
        time.sleep(0.3)  # so that this has been read when the answer is
        self.answer(200 if given in ((f"Bearer {known}", None), (None, known)) else 401, b"\n")

    def get_basic(self):
        self.answer(200, (self.headers.get("Authorization") or "").encode())

    def get_json(self):
        self.answer(200, json.dumps({"version": "1.2", "parts": [{"a/b": 1}], "on": True}).encode())

    def get_away(self):
        self.answer(302, b"", {"Location": sys.argv[4]})

    def get_drip(self):
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b".")
            time.sleep(0.02)

    def get_egress(self):
        """Whether it can connect to an address, and write outside of its directory."""
        found = {}
        try:
            socket.create_connection(("127.0.0.1", int(sys.argv[4])), timeout=2).close()
            found["connects"] = True
        except OSError:
            found["connects"] = False
        for name, place in (("outside", Path(sys.argv[5])), ("lab", Path.cwd()), ("restored", ROOT)):
            try:
                (place / "written").write_text("x")
                found[name] = True
            except OSError:
                found[name] = False
        self.answer(200, json.dumps({**found, "environment": sorted(os.environ)}).encode())

    def get_die(self):
        sys.stderr.write("out of paper\n")
        os._exit(3)

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {"Content-Type": "text/plain; charset=utf-8"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    if HOW == "dies":
        sys.stderr.write("cannot read the database\n\n")
        sys.exit(4)
    if HOW == "mute":
        time.sleep(60)
    if HOW == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if HOW in ("stubborn", "family"):
        # One of its own session, and one that leaves it.
        for new_session in (False, True):
            argv = ["/bin/sh", "-c", f"trap '' TERM; while :; do echo {ROOT} >/dev/null; sleep 0.1; done"]
            subprocess.Popen(argv, start_new_session=new_session)
    HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()


main()
