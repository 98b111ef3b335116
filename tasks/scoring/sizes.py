"""This module reads how large Parquet files and Arrow streams are, before anything in them is unpacked.

A megabyte can unpack to gigabytes. What is counted is what a reader makes room for: the sizes of Parquet's pages as the
header of each page says them, and of Arrow's buffers as each buffer begins.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

HEAD_BYTES = 2**20  # of a Parquet footer, or the head of an Arrow message
PAGE_HEAD_BYTES = 65536
PARTS = 10_000  # pages or messages
_DEEPEST = 20
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12


class Sizes(NamedTuple):
    """Sizes counts rows, and bytes once unpacked."""

    rows: int
    unpacked: int


def of_parquet(content: bytes) -> Sizes:
    """Return a Parquet file's sizes. Raises ValueError when this is no Parquet file, or one of very many pages."""
    length = int.from_bytes(content[-8:-4], "little")
    if len(content) < 12 or content[-4:] != b"PAR1" or length > min(HEAD_BYTES, len(content) - 12):
        raise ValueError(f"no file with a footer of at most {HEAD_BYTES} bytes")
    meta, _ = _struct(content, len(content) - 8 - length)
    groups = _of(meta, 4, list)
    rows = max(_of(meta, 3, int), sum(_of(group, 3, int) for group in groups))
    view, pages, unpacked = memoryview(content), 0, 0
    for chunk in (_of(chunk, 3, dict) for group in groups for chunk in _of(group, 1, list)):
        at = _of(chunk, 11, int) or _of(chunk, 9, int)
        end = at + _of(chunk, 7, int)
        while 0 <= at < min(end, len(content)):
            page, taken = _struct(view[at : at + PAGE_HEAD_BYTES], 0)
            packed, size = _of(page, 3, int), _of(page, 2, int)
            pages, unpacked, at = pages + 1, unpacked + size, at + taken + packed
            if packed < 0 or size < 0 or pages > PARTS:
                raise ValueError(f"not at most {PARTS} pages")
    return Sizes(rows, unpacked)


def of_arrow(content: bytes) -> Sizes:
    """Return an Arrow stream's sizes. Raises ValueError when this is no Arrow stream, or one of very many messages."""
    rows = unpacked = 0
    try:
        for place, (kind, header, body) in enumerate(_messages(content)):
            if place > PARTS:
                raise ValueError(f"not at most {PARTS} messages")
            if kind in (2, 3):
                batch = header if kind == 3 else _pointer(content, _slot(content, header, 1))
                rows += _number(content, batch, 0)
                unpacked += _buffers(content, batch, body)
    except struct.error:
        raise ValueError("cut short") from None
    return Sizes(rows, unpacked)


# Parquet's metadata: Thrift's compact protocol.


def _of(found: Any, field: int, kind: type) -> Any:
    value = found.get(field, kind()) if isinstance(found, dict) else None
    if not isinstance(value, kind):
        raise ValueError("metadata of another form")  # noqa: TRY004 (it is of a file, not of a caller)
    return value


def _struct(data: bytes | memoryview, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields by number, and where they end."""
    found: dict[int, Any] = {}
    field = 0
    while True:
        head, at = _byte(data, at), at + 1
        kind = head & 15
        if kind == _STOP:
            return found, at
        if head >> 4:
            field += head >> 4
        else:
            field, at = _zigzag(data, at)
        found[field], at = (kind == _TRUE, at) if kind in (_TRUE, _FALSE) else _value(data, at, kind, depth + 1)


def _value(data: bytes | memoryview, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > _DEEPEST:
        raise ValueError("metadata nested too deep")
    if kind in (_TRUE, _FALSE, _BYTE):
        return _byte(data, at), at + 1
    if kind < _DOUBLE:
        return _zigzag(data, at)
    if kind == _DOUBLE:
        return None, at + 8
    if kind == _BINARY:
        size, at = _varint(data, at)
        return None, at + size
    if kind in (_LIST, _SET):
        head, at = _byte(data, at), at + 1
        size, at = (head >> 4, at) if head >> 4 < 15 else _varint(data, at)
        items = []
        for _ in range(size):  # each takes a byte at least, so it ends with the data
            item, at = _value(data, at, head & 15, depth + 1)
            items.append(item)
        return items, at
    if kind == _STRUCT:
        return _struct(data, at, depth)
    raise ValueError("metadata of another form")  # Parquet has no maps


def _byte(data: bytes | memoryview, at: int) -> int:
    if at >= len(data):
        raise ValueError("metadata cut short")
    return data[at]


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte, at = _byte(data, at), at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("metadata of another form")


def _zigzag(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


# Arrow's messages: flat buffers, then a body.


def _messages(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the kind, the place of the header, and the place of the body of each message."""
    at = 0
    while at + 4 <= len(content):
        (size,) = struct.unpack_from("<I", content, at)
        at += 4
        if size == 0xFFFFFFFF:
            (size,) = struct.unpack_from("<I", content, at)
            at += 4
        if not size:
            return
        if size > HEAD_BYTES:
            raise ValueError(f"a head of more than {HEAD_BYTES} bytes")
        message = _pointer(content, at)
        kind, length = _slot(content, message, 1), _number(content, message, 3)
        if length < 0:
            raise ValueError("a body of negative length")
        yield content[kind] if kind else 0, _pointer(content, _slot(content, message, 2)), at + size
        at += size + length


def _buffers(content: bytes, batch: int, body: int) -> int:
    """Count the bytes of a record batch's buffers once unpacked."""
    place = _slot(content, batch, 2)
    if not place:
        return 0
    vector, packed, size = _pointer(content, place), bool(_slot(content, batch, 3)), 0
    (count,) = struct.unpack_from("<I", content, vector)
    for offset, length in struct.iter_unpack("<qq", content[vector + 4 : vector + 4 + 16 * count]):
        if offset < 0 or length < 0:
            raise ValueError("a buffer of negative length")
        if packed and length >= 8:
            (said,) = struct.unpack_from("<q", content, body + offset)
            if said < -1:
                raise ValueError("a buffer of negative length")
            size += length if said == -1 else said
        else:
            size += length
    return size


def _pointer(content: bytes, at: int) -> int:
    return int(at + struct.unpack_from("<I", content, at)[0])


def _slot(content: bytes, table: int, number: int) -> int:
    """Return where a field of a table is; 0 if it has its default."""
    tables = table - struct.unpack_from("<i", content, table)[0]
    if tables < 0:
        raise ValueError("a table of another form")
    (size,) = struct.unpack_from("<H", content, tables)
    place = 4 + 2 * number
    offset = struct.unpack_from("<H", content, tables + place)[0] if place + 2 <= size else 0
    return table + offset if offset else 0


def _number(content: bytes, table: int, number: int) -> int:
    place = _slot(content, table, number)
    return int(struct.unpack_from("<q", content, place)[0]) if place else 0
