"""A server that stands before another one and fails as networks do."""

from __future__ import annotations

import itertools
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def flaky(beyond: str) -> Iterator[str]:
    """Address of a server that hands requests on to `beyond`: of three it refuses one, and cuts what one is answered."""
    turn = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            n = next(turn) % 3
            if n == 0:
                self.answer(503, {}, b"")
                return
            asked = {
                k: v
                for k, v in self.headers.items()
                if k.lower() in ("range", "authorization") or k.startswith("x-")
            }
            try:
                found = urllib.request.urlopen(urllib.request.Request(beyond + self.path, headers=asked))
            except urllib.error.HTTPError as error:
                found = error
            with found:
                body = found.read()
                kept = ("content-type", "etag", "last-modified", "content-range")
                headers = {k: v for k, v in found.headers.items() if k.lower() in kept}
                cut = n == 1 and found.status < 300
                self.answer(found.status, headers, body, len(body) // 2 if cut else len(body))

        def answer(self, status: int, headers: dict[str, str], body: bytes, sent: int = 0) -> None:
            self.send_response(status)
            for name, value in (*headers.items(), ("Content-Length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[:sent])
            self.close_connection = sent < len(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
