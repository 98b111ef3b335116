"""Requests and answers as bytes: JSON, and safetensors for arrays as they are. Nothing is unpickled."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from serving.client import Contract, InputError

JSON = "application/json"
SAFETENSORS = "application/vnd.safetensors"
KINDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers of zero and above", "b": "true or false"}


class BadBody(Exception):
    """Bytes that are no request at all: the message says where they end to be one."""


def arrays_of(body: bytes, media_type: str, contract: Contract, needed: tuple[str, ...], max_rows: int) -> Any:
    """Inputs under the contract from a request's body. Raises BadBody, InputError."""
    arrays = _from_json(body, contract, needed) if media_type == JSON else _from_safetensors(body)
    contract.check_names(arrays, needed)
    rows = max((len(array) for array in arrays.values() if array.ndim), default=0)
    if rows > max_rows:
        raise InputError("", f"{rows} rows in one request; at most {max_rows} are allowed, send them in parts")
    contract.check(arrays, needed)
    if not rows:
        raise InputError("", "no rows; every input needs at least one")
    return arrays


def json_answer(about: Mapping[str, Any], output: NDArray[np.float32]) -> bytes:
    """`about` and the output as nested lists."""
    return orjson.dumps({**about, "output": np.ascontiguousarray(output)}, option=orjson.OPT_SERIALIZE_NUMPY)


def safetensors_answer(about: Mapping[str, Any], output: NDArray[np.float32]) -> bytes:
    """The array `output`, with `about` as metadata."""
    metadata = {name: str(value) for name, value in about.items()}
    return safetensors.numpy.save({"output": np.ascontiguousarray(output)}, metadata)


def _from_json(body: bytes, contract: Contract, needed: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"not JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("inputs"), dict):
        raise InputError("inputs", 'expected an object: {"inputs": {name: nested lists}}')
    if others := sorted(found.keys() - {"inputs"}):
        raise InputError(others[0], "no such field; the request has `inputs` alone")
    contract.check_names(found["inputs"], needed)
    words = b"true" in body or b"false" in body  # NumPy would take them for 1 and 0
    return {name: _array(name, value, contract, words=words) for name, value in found["inputs"].items()}


def _array(name: str, value: Any, contract: Contract, *, words: bool) -> NDArray[Any]:
    expected = contract.inputs[name]
    dtype = np.dtype(expected.dtype)
    allowed = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}.get(dtype.kind, "")
    said = f"expected nested lists of {KINDS.get(dtype.kind, 'values')}, {expected}"
    if not isinstance(value, list):
        raise InputError(name, f"a single value; {said}")
    try:
        found = np.array(value)
    except ValueError:
        raise InputError(name, f"lists of unequal lengths; {said}") from None
    if not found.size:
        raise InputError(name, f"no values; {said}")
    if found.dtype.kind not in allowed or (words and dtype.kind != "b" and _has_word(value)):
        raise InputError(name, f"{_wrong(value, allowed) or f'a number beyond {expected.dtype}'}; {said}")
    if dtype.kind in "iu" and (found.min() < np.iinfo(dtype).min or found.max() > np.iinfo(dtype).max):
        raise InputError(name, f"a number beyond {expected.dtype}; {said}")
    with np.errstate(over="ignore"):
        return found.astype(dtype)  # what is too large for it is infinite now, and refused as such


def _has_word(value: Any) -> bool:
    return any(map(_has_word, value)) if isinstance(value, list) else isinstance(value, bool)


def _wrong(value: Any, allowed: str) -> str:
    """The first value of a kind that is not allowed; empty if there is none, but a number beyond all types."""
    if isinstance(value, list):
        return next((said for item in value if (said := _wrong(item, allowed))), "")
    fitting = {"f": (int, float), "i": (int,), "b": (bool,)}[allowed[0]]
    wrong = not isinstance(value, fitting) or (isinstance(value, bool) and allowed != "b")
    if not wrong:
        return ""
    return "null" if value is None else f"{value!r:.40}" if not isinstance(value, dict) else "an object"


def _from_safetensors(body: bytes) -> dict[str, NDArray[Any]]:
    try:
        return safetensors.numpy.load(body)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadBody(f"not safetensors with arrays of NumPy's types: {error}") from None
