"""This module speaks HTTP on one connection, with bounds on a client's bytes and on its time."""

from asyncio import BaseTransport, TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.service.settings import ServiceSettings

MAX_HEADERS = 100
MAX_PIPELINED = 16
LINGER_SECONDS = 1.0  # for a client to take the last answer
STATUS = {408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}


class Bounded(HttpToolsProtocol):
    """This bounds uvicorn's own protocol, which has no limits on headers, trailers, pipelines and slow clients.

    `waits_since`: since when the service has waited for this client; None while it is the client that waits.
    """

    settings: ServiceSettings

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.waits_since: float | None = self.loop.time()
        self._allowed = self.settings.idle_seconds
        self._head = self._headers = self._unused = self._steps = 0
        self._in_head = False
        self._late: TimerHandle | None = None

    # The connection.

    def connection_made(self, transport: BaseTransport) -> None:
        """Let the client in; when all places are taken, the client that has kept the service waiting longest goes."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self.settings.max_connections:
            self._make_room()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it, with its timers: they would keep it in memory."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._late is not None:
            self._late.cancel()

    def _make_room(self) -> None:
        waiting = [one for one in self.connections if isinstance(one, Bounded) and one.waits_since is not None]
        oldest = min(waiting, key=lambda one: one.waits_since or 0.0)
        if oldest is self:
            self.end(503)
        else:
            self.connections.discard(oldest)
            oldest.transport.abort()

    # What a client sends.

    def data_received(self, data: bytes) -> None:
        """Parse the data, unless they only make a head, or the part after a body, longer and longer."""
        before = self._steps
        super().data_received(data)
        self._unused = self._unused + len(data) if self._steps == before else 0
        if self._unused > self.settings.max_header_bytes:
            self.end(431)

    def on_message_begin(self) -> None:
        """Start timing a request: from now on its headers have to be complete in time."""
        super().on_message_begin()
        self._head = self._headers = 0
        self._step()
        self._in_head = True
        if self.cycle is None or self.cycle.response_complete:
            self._wait(self.settings.idle_seconds)

    def on_url(self, url: bytes) -> None:
        """Count a part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, or a trailer."""
        self._headers += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand on the request; its body has to be complete in time."""
        self._step()
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests in a row without waiting for their answers")
        super().on_headers_complete()
        self._in_head = False
        self._wait(self.settings.body_seconds)

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body."""
        self._step()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that all of a request is here: from now on the client waits."""
        self._step()
        super().on_message_complete()
        self.waits_since = None
        if self.cycle.response_complete:  # it was refused before it had ended
            self._wait(self.settings.idle_seconds)

    def on_response_complete(self) -> None:
        """Note that all of an answer is handed on: the next request may take a while."""
        ended = not self.cycle.more_body and not self.pipeline
        super().on_response_complete()
        if ended:
            taken = not self.flow.write_paused
            self._wait(self.settings.idle_seconds if taken else self.settings.body_seconds)

    def _step(self) -> None:
        self._steps += 1

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self.settings.max_header_bytes or self._headers > MAX_HEADERS:
            raise ValueError("address and headers, or trailers, are beyond their bounds")

    def send_400_response(self, msg: str) -> None:
        """Tell the client why the parser, or one of the methods above, refused its bytes."""
        if self._head > self.settings.max_header_bytes or self._headers > MAX_HEADERS:
            self.end(431)
        else:
            super().send_400_response(msg)
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    # Time.

    def pause_writing(self) -> None:
        """Give a client that does not take its answer as long as for a body."""
        super().pause_writing()
        self._wait(self.settings.body_seconds)

    def resume_writing(self) -> None:
        """Stop the clock of a client that has taken its answer."""
        super().resume_writing()
        self.waits_since = None
        if self.cycle is None or self.cycle.response_complete:
            self._wait(self.settings.idle_seconds)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection without a further request, unless its client still takes an answer."""
        if not self.flow.write_paused:
            self.end(408)

    def _wait(self, seconds: float) -> None:
        self.waits_since, self._allowed = self.loop.time(), seconds

    def _watch(self) -> None:
        """End the connection if its client has used up its time, or check again. One timer costs less than many."""
        left = 1.0 if self.waits_since is None else self.waits_since + self._allowed - self.loop.time()
        # The application answers when a body is late; this is for what it does not see.
        if left > 0 or (left > -LINGER_SECONDS and self._application_waits()):
            self._late = self.loop.call_later(min(max(left, 0.1), 1.0), self._watch)
        elif self.transport.is_closing():
            self.transport.abort()  # it does not take its last answer
        else:
            self.end(408)

    def _application_waits(self) -> bool:
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def end(self, status: int) -> None:
        """Close the connection, with a last answer where the client waits for one; a slow taker is cut off."""
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if status == 503 or (self._in_head and not answering):
            line = f"HTTP/1.1 {status} {STATUS[status]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(line.encode())
        self.transport.close()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def bounded(settings: ServiceSettings) -> type[Bounded]:
    """Return the protocol under these settings, as uvicorn takes it."""
    return type("Bounded", (Bounded,), {"settings": settings})
