"""This module reads requests and writes answers: JSON, and safetensors for arrays. Nothing is unpickled."""

import math
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import orjson
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from serving.client import Contract, InputError
from serving.contract import Field

JSON = "application/json"
SAFETENSORS = "application/vnd.safetensors"
# What counts on a body's bytes may be beyond what its rows need: names, spaces in text, and mistakes to be told of.
SPARE = 1000
BLOCK = 256  # rows that are made an array in one go: other threads wait for each
HEADER_BYTES = 65536  # of safetensors
TYPES: Mapping[str, tuple[type, ...]] = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,)}
KINDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers of zero and above", "b": "true or false"}


class BadBody(Exception):
    """These bytes are no request; the message tells where they stop being one."""


def arrays_of(body: bytes, media_type: str, contract: Contract, needed: tuple[str, ...], max_rows: int) -> Any:
    """Read inputs under the contract from a request's body. Raises BadBody, InputError."""
    arrays = _from_json(body, contract, needed, max_rows) if media_type == JSON else _from_safetensors(body)
    contract.check_names(arrays, needed)
    rows = max((len(array) for array in arrays.values() if array.ndim), default=0)
    if rows > max_rows:
        raise _too_many(rows, max_rows)
    contract.check(arrays, needed)
    if not rows:
        raise InputError("", "no rows; every input needs at least one")
    return arrays


def json_answer(about: Mapping[str, Any], output: NDArray[np.float32]) -> bytes:
    """Write `about` and the output as nested lists."""
    return orjson.dumps({**about, "output": np.ascontiguousarray(output)}, option=orjson.OPT_SERIALIZE_NUMPY)


def safetensors_answer(about: Mapping[str, Any], output: NDArray[np.float32]) -> bytes:
    """Write the array `output`, with `about` as metadata."""
    metadata = {name: str(value) for name, value in about.items()}
    return safetensors.numpy.save({"output": np.ascontiguousarray(output)}, metadata)


def _too_many(rows: object, max_rows: int) -> InputError:
    return InputError("", f"{rows} rows in one request; at most {max_rows} are allowed, send them in parts")


def _from_json(body: bytes, contract: Contract, needed: tuple[str, ...], max_rows: int) -> dict[str, NDArray[Any]]:
    _check_bytes(body, contract, max_rows)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"not JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("inputs"), dict):
        raise InputError("inputs", 'expected an object: {"inputs": {name: nested lists}}')
    if others := sorted(found.keys() - {"inputs"}):
        raise InputError(others[0], "no such field; the request has `inputs` alone")
    contract.check_names(found["inputs"], needed)
    rows = max((len(value) for value in found["inputs"].values() if isinstance(value, list)), default=0)
    if rows > max_rows:
        raise _too_many(rows, max_rows)
    return {name: _array(name, value, contract.inputs[name]) for name, value in found["inputs"].items()}


def _check_bytes(body: bytes, contract: Contract, max_rows: int) -> None:
    """Refuse a body with more values than rows can have: Python's objects are many times larger than their text."""
    rows, shapes = max_rows + SPARE, [item.shape for item in contract.inputs.values()]
    most = {
        "values": (b",", sum(rows * math.prod(shape) for shape in shapes)),
        "lists": (b"[", sum(rows * sum(math.prod(shape[:to]) for to in range(len(shape))) for shape in shapes)),
        "objects": (b"{", 0),
        "quotes": (b'"', 2 * len(shapes)),
    }
    text = np.frombuffer(body, np.uint8)
    for what, (sign, limit) in most.items():
        # Where a body is shorter than the limit it need not be counted. NumPy lets other threads go on meanwhile.
        if len(body) > limit + SPARE and np.count_nonzero(text == ord(sign)) > limit + SPARE:
            raise InputError("", f"more {what} than {max_rows} rows have, which are allowed in one request")


def _array(name: str, value: Any, expected: Field) -> NDArray[Any]:
    said = f"expected nested lists of {KINDS.get(np.dtype(expected.dtype).kind, 'values')}, {expected}"
    if not isinstance(value, list):
        raise InputError(name, f"a single value; {said}")
    blocks = [_block(name, value[at : at + BLOCK], expected, said) for at in range(0, len(value), BLOCK)]
    if not blocks:
        raise InputError(name, f"no values; {said}")
    if len({block.shape[1:] for block in blocks}) > 1:
        raise InputError(name, f"lists of unequal lengths; {said}")
    return np.concatenate(blocks)


def _block(name: str, items: list[Any], expected: Field, said: str) -> NDArray[Any]:
    """Read rows as an array. Types and lengths come first: NumPy would make room for the longest text everywhere."""
    dtype, shape = np.dtype(expected.dtype), [len(items)]
    while list in (kinds := set(map(type, items))):
        lengths = {len(item) for item in items if type(item) is list}
        if len(kinds) > 1 or len(lengths) > 1:
            raise InputError(name, f"lists of unequal lengths; {said}")
        shape += lengths
        # A little too much is told with the whole shape, far too much is not even looked at.
        if len(shape) > len(expected.shape) + 1 or math.prod(shape[1:]) > math.prod(expected.shape) + SPARE:
            raise InputError(name, f"shape {' × '.join(map(str, shape))} and more; expected {expected}")
        items = list(chain.from_iterable(items))
    allowed = TYPES.get(dtype.kind, ())
    if not items:
        raise InputError(name, f"no values; {said}")
    if kinds.difference(allowed):
        raise InputError(name, f"{_shown(next(item for item in items if type(item) not in allowed))}; {said}")
    try:
        with np.errstate(over="ignore"):  # what is too large is infinite now, and refused as such
            return np.array(items, dtype).reshape(shape)
    except OverflowError:
        raise InputError(name, f"a number beyond {expected.dtype}; {said}") from None


def _shown(value: Any) -> str:
    if isinstance(value, str):
        value = value[:40]
    return "null" if value is None else "an object" if isinstance(value, dict) else f"{value!r:.40}"


def _from_safetensors(body: bytes) -> dict[str, NDArray[Any]]:
    if int.from_bytes(body[:8], "little") > HEADER_BYTES:  # names and shapes; each array is an object in the end
        raise BadBody(f"not safetensors with a header of at most {HEADER_BYTES} bytes")
    try:
        return safetensors.numpy.load(body)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadBody(f"not safetensors with arrays of NumPy's types: {error}") from None
