"""Endpoints with a body use this module: it reads the body within limits, and refuses in one line."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from serving.service.settings import ServiceSettings

# A larger body is read and answered on another thread, so that small requests need not wait for it.
INLINE_BYTES = 65536


class Refused(Exception):
    """A request is refused: status, one line, the field that it is about, further headers.

    `rule` and `row`: the rule that a table breaks, and the row that does so first, counted from 0.
    """

    def __init__(
        self,
        status: int,
        message: str,
        field: str = "",
        headers: dict[str, str] | None = None,
        rule: str | None = None,
        row: int | None = None,
    ) -> None:
        super().__init__(" ".join(message.split()))  # whatever a client named, the answer is one line
        self.status, self.field, self.headers, self.rule, self.row = status, field, headers, rule, row


def media_type(request: Request, allowed: Collection[str]) -> str:
    """Return the body's content type. Refuses one that is not `allowed`, and any encoding."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in allowed:
        said = f"Content-Type {found or 'is missing'}; expected {' or '.join(allowed)}"
        raise Refused(415, said, "Content-Type")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        said = f"Content-Encoding {encoding}; send the body as it is"
        raise Refused(415, said, "Content-Encoding")
    return found


class Intake:
    """An intake holds the bodies of all requests together, in bounded memory.

    Small bodies' memory is bounded by the number of connections, so large ones never keep them out.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._seconds, self._left = settings.body_seconds, settings.max_bytes_at_once
        self._most = self._free = settings.max_bytes
        self._turn, self._changed = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def body(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """Read the whole body; no more than `limit` bytes of it are ever held, and none after the block."""
        too_large = Refused(413, f"the body has more than {limit} bytes; send the rows in parts")
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > limit:
            raise too_large
        parts: list[bytes] = []
        size = held = 0
        try:
            try:
                async with asyncio.timeout(self._seconds):
                    async for part in request.stream():
                        size += len(part)
                        if size > limit:
                            raise too_large
                        if size > INLINE_BYTES:
                            held += self._hold(size - INLINE_BYTES - held)
                        parts.append(part)
            except ClientDisconnect:
                raise Refused(400, "the client went away before its body had ended") from None
            except TimeoutError:
                said = f"the body did not arrive within {self._seconds:g} s"
                raise Refused(408, said, headers={"Connection": "close"}) from None
            whole = b"".join(parts)
            parts.clear()
            yield whole
        finally:
            self._left += held

    def _hold(self, size: int) -> int:
        if size > self._left:
            said = "the service holds as many large bodies as it can; try again"
            raise Refused(503, said, headers={"Retry-After": "1", "Connection": "close"})
        self._left -= size
        return size

    @asynccontextmanager
    async def work(self, size: int) -> AsyncIterator[None]:
        """Wait until a body of `size` bytes may be parsed: values take many times the bytes that they are sent as.

        At any time all that are being read have no more bytes than the largest may have.
        """
        size = min(size, self._most)
        async with self._turn:  # its waiters are served in order, so a large body gets its turn
            while self._free < size:
                self._changed.clear()
                await self._changed.wait()
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._changed.set()
