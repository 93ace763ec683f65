"""A webhook that keeps what it is sent."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook(ThreadingHTTPServer):
    """Keeps the events, oldest first."""

    daemon_threads = True

    def __init__(self):
        self.events = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def of(self, target):
        """Names of the events that a target caused."""
        return [event["event"] for event in self.events if event["target"] == target]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.events += body["events"]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def listening():
    server = Webhook()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
