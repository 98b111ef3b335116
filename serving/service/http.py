"""What all endpoints that take a body do: read it within limits, and refuse in one line."""

from collections.abc import Collection

from fastapi import Request
from starlette.requests import ClientDisconnect


class Refused(Exception):
    """A request that is not answered: status, one line, the field that it is about, further headers.

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
        super().__init__(message)
        self.status, self.field, self.headers, self.rule, self.row = status, field, headers, rule, row


def media_type(request: Request, allowed: Collection[str]) -> str:
    """The body's content type. Refuses one that is not `allowed`, and any encoding."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in allowed:
        said = f"Content-Type {found or 'is missing'}; expected {' or '.join(allowed)}"
        raise Refused(415, said, "Content-Type")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        said = f"Content-Encoding {encoding}; send the body as it is"
        raise Refused(415, said, "Content-Encoding")
    return found


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body; no more than `limit` bytes of it are ever held."""
    too_large = Refused(413, f"the body has more than {limit} bytes; send the rows in parts")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise too_large
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise Refused(400, "the client went away before its body had ended") from None
    return b"".join(parts)
