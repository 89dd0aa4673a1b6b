"""A bucket of files on loopback, with the faults that real servers have."""

import hashlib
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Bucket:
    """What is served, what goes wrong with it, and what was asked."""

    files: dict[str, bytes]
    fail_first: dict[str, list[int]] = field(default_factory=dict)  # statuses, then well
    always: dict[str, int] = field(default_factory=dict)
    cut_first: set[str] = field(default_factory=set)  # half of it, once
    slow: dict[str, float] = field(default_factory=dict)  # seconds per 512 bytes
    redirects: dict[str, str] = field(default_factory=dict)
    extra: dict[str, dict[str, str]] = field(default_factory=dict)  # headers of the failures
    without: set[str] = field(default_factory=set)  # headers never sent
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, Range
    at_once: int = 0
    most_at_once: int = 0
    address: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def counts(self):
        return Counter(path for path, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.lstrip("/")
        with self.server.bucket.lock:
            self.server.bucket.asked.append((path, self.headers.get("Range", "")))
            self.server.bucket.at_once += 1
            self.server.bucket.most_at_once = max(
                self.server.bucket.most_at_once, self.server.bucket.at_once
            )
        try:
            self.answer(path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.server.bucket.lock:
                self.server.bucket.at_once -= 1

    def answer(self, path):
        if path in self.server.bucket.redirects:
            return self.plain(302, {"Location": self.server.bucket.redirects[path]})
        if self.server.bucket.fail_first.get(path):
            return self.plain(
                self.server.bucket.fail_first[path].pop(0), self.server.bucket.extra.get(path, {})
            )
        if path in self.server.bucket.always or path not in self.server.bucket.files:
            return self.plain(
                self.server.bucket.always.get(path, 404), self.server.bucket.extra.get(path, {})
            )
        return self.body(path, self.server.bucket.files[path])

    def plain(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def body(self, path, data):
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        start, wanted = 0, self.headers.get("Range", "")
        if wanted and self.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        headers = {"ETag": etag, "Content-Length": str(len(data) - start)}
        for name, value in headers.items():
            if name not in self.server.bucket.without:
                self.send_header(name, value)
        if "Content-Length" in self.server.bucket.without:
            self.send_header("Connection", "close")
        self.end_headers()
        self.send(path, data[start:])

    def send(self, path, data):
        if path in self.server.bucket.cut_first:
            self.server.bucket.cut_first.discard(path)
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        step = 512 if path in self.server.bucket.slow else len(data) or 1
        for at in range(0, len(data), step):
            self.wfile.write(data[at : at + step])
            self.wfile.flush()
            time.sleep(self.server.bucket.slow.get(path, 0.0))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def serving(files, **faults):
    """Serve files on a free port of this machine while the block runs."""
    bucket = Bucket(dict(files), **faults)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.bucket = bucket
    bucket.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
