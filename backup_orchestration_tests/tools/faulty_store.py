"""A real S3 server, and a proxy in front of it that breaks on demand. For the tests of stores that fail."""

import http.client
import os
import re
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.config import Config

KEY, SECRET = "access-key-of-tests", "secret-key-of-tests"
ANSWERS = {
    "403": (403, "AccessDenied", "Access Denied."),
    "500": (500, "InternalError", "We encountered an internal error."),
    "full": (507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."),
}
_HOP = ("connection", "keep-alive", "transfer-encoding")


class S3Server:
    """`rclone serve s3` on a directory: each folder in it is a bucket, each object a plain file."""

    def __init__(self, rclone, root):
        self.root = root
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        argv = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--vfs-cache-mode", "off", str(root)]
        env = {"PATH": os.defpath, "HOME": str(root), "RCLONE_AUTH_KEY": f'"{KEY},{SECRET}"', "RCLONE_CONFIG": ""}
        self._log = (root.parent / "rclone.log").open("wb")
        self._process = subprocess.Popen(argv, env=env, stdout=self._log, stderr=subprocess.STDOUT)
        self._await()

    def _await(self):
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, "rclone has ended"
            assert time.monotonic() < deadline, "rclone does not listen"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def client(self):
        """By which tests change what the server holds: it remembers what it has listed."""
        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1",
            aws_access_key_id=KEY, aws_secret_access_key=SECRET, config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip

    def close(self):
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


class FaultyStore(ThreadingHTTPServer):
    """Passes requests on to a server until it is told to break.

    Attributes:
        url: what clients are given as endpoint.
        asked: method and path of every request, in order; `broken` those that met the fault.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port):
        self.upstream = port
        self.asked, self.broken = [], []
        self._fault, self._when, self._met = None, None, False
        self._mended = threading.Event()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def break_with(self, fault, after=None, only=""):
        """From now on, or after the first request that matches `after`, requests that match `only` meet the fault.

        Args:
            fault: `403`, `500`, `full` (507), `gone` (each connection is closed), `never` (no answer is given).
            after, only: regular expressions on `METHOD /path`.
        """
        with self._lock:
            self._fault, self._only = fault, re.compile(only)
            self._when, self._met = after and re.compile(after), after is None
            self._mended.clear()

    def mend(self):
        """Pass everything on again; what was left without an answer is let go."""
        with self._lock:
            self._fault = None
        self._mended.set()

    def fault_of(self, request):
        """The fault that this request meets, or None."""
        with self._lock:
            self.asked.append(request)
            if self._fault is None:
                return None
            if not self._met:
                self._met = bool(self._when.search(request))
                return None
            if not self._only.search(request):
                return None
            self.broken.append(request)
            return self._fault

    def hold(self):
        """Give no answer until the store is mended or closed."""
        self._mended.wait(120)

    def handle_error(self, request, client_address):
        """Clients that give up are what the tests are about."""

    def close(self):
        self.mend()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self):
        fault = self.server.fault_of(f"{self.command} {self.path}")
        if fault in ("gone", "never"):
            if fault == "never":
                self.server.hold()
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if fault:
            self._refuse(*ANSWERS[fault])
        else:
            self._pass_on(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815 - as http.server names them

    def handle_expect_100(self):
        """Whoever waits for leave to send gets it, except from a store that is gone."""
        return True if self.server._fault in ("gone", "never") else super().handle_expect_100()

    def _pass_on(self, body):
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in (*_HOP, "expect"):
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
        finally:
            upstream.close()

    def _refuse(self, status, code, message):
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self._answer(status, [("Content-Type", "application/xml")], text.encode())

    def _answer(self, status, headers, body):
        self.send_response_only(status)
        length = None
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in _HOP:
                self.send_header(name, value)
        head = self.command == "HEAD"
        self.send_header("Content-Length", length if head and length else str(len(body)))
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def log_message(self, *_):
        pass
