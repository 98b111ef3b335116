"""A server in front of a real one that passes requests on; tests say which it treats otherwise."""

import http.client
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import urlparse

Headers = Iterable[tuple[str, str]]
# Of one connection, not of the message that travels on it.
OF_A_CONNECTION = {"connection", "content-length", "transfer-encoding", "expect"}


class Edge(ThreadingHTTPServer):
    """Listens on this machine, for the server at an address."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, handler: "type[Handler]") -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.behind = urlparse(address)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Passes every request on as it came, its Host included: a signature covers that."""

    protocol_version = "HTTP/1.1"
    server: Any

    def treat(self, body: bytes) -> None:
        """What becomes of a request."""
        self.answer(*self.ask(self.headers.items(), body))

    def ask(self, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        """The real server's status, headers and body."""
        behind = self.server.behind
        connection = http.client.HTTPConnection(behind.hostname, behind.port, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            if name.lower() not in OF_A_CONNECTION:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        told = answer.status, answer.getheaders(), answer.read()
        connection.close()
        return told

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer the client."""
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in OF_A_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """End the connection without an answer."""
        self.close_connection = True

    def _any(self) -> None:
        self.treat(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def do_GET(self) -> None:
        self._any()

    def do_PUT(self) -> None:
        self._any()

    def do_POST(self) -> None:
        self._any()

    def do_PATCH(self) -> None:
        self._any()

    def do_HEAD(self) -> None:
        self._any()

    def do_DELETE(self) -> None:
        self._any()

    def log_message(self, *arguments: Any) -> None:
        """Tests look at what was done, not at a log."""


E = TypeVar("E", bound=Edge)


@contextmanager
def serving(edge: E) -> Iterator[E]:
    """The edge, while it serves."""
    thread = threading.Thread(target=edge.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield edge
    finally:
        edge.shutdown()
        thread.join()
        edge.server_close()
