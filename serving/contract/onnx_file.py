"""This module reads an ONNX file as far as a digest must cover it. Standard library only: no consumer's package."""

from collections.abc import Iterator

# Which fields of a message hold further messages (onnx.proto), down to where tensors can stand.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTH = {_FIXED64: 8, _FIXED32: 4}
_DEEPEST = 100


class ExternalData(ValueError):
    """An ONNX file reads another file, which its digest and its signature do not cover."""


def require_self_contained(model: bytes) -> None:
    """Refuse an ONNX file whose weights lie in other files.

    Raises ExternalData, or another ValueError when it is no ONNX file at all: ONNX Runtime would try other formats.
    """
    todo = [(memoryview(model), "model", 0)]
    while todo:
        message, kind, depth = todo.pop()
        if depth > _DEEPEST:
            raise ValueError("no ONNX file: its graphs are nested too deep")
        for field, value in _fields(message):
            if kind == "tensor":
                if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0):
                    raise ExternalData(
                        "its weights lie in another file, which no digest covers; save it with the weights inside"
                    )
            elif inner := _FIELDS[kind].get(field):
                if not isinstance(value, memoryview):
                    raise ValueError(f"no ONNX file: field {field} of a {kind} is a number")
                todo.append((value, inner, depth + 1))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield field numbers and values of a protobuf message; its bytes are not copied. Raises ValueError."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        value: memoryview | int = 0
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        elif kind in _WIDTH:
            at += _WIDTH[kind]
        else:
            raise ValueError("no ONNX file: not a protobuf message")
        if at > len(message) or not field:
            raise ValueError("no ONNX file: not a protobuf message, or cut short")
        yield field, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no ONNX file: not a protobuf message, or cut short")
