"""A killed training finds its last epoch here: one object in a store, safetensors after their SHA-256."""

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any, Protocol

from safetensors.torch import load, save
from torch import Tensor

from tasks.core.storage import ObjectStore

DIGEST = 32


class Checkpoint(Protocol):
    """A Checkpoint stores the state of one training."""

    def load(self) -> bytes | None:
        """Return the last saved state, None when there is none."""
        ...

    def save(self, data: bytes) -> None:
        """Replace the state, atomically."""
        ...


@dataclass(frozen=True)
class StoreCheckpoint:
    """A StoreCheckpoint lies at `key` of a store."""

    store: ObjectStore
    key: str

    def load(self) -> bytes | None:
        try:
            return self.store.read(self.key)
        except KeyError:
            return None

    def save(self, data: bytes) -> None:
        self.store.write(self.key, data)


def pack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    """Pack tensors and JSON-able facts as the SHA-256 of safetensors bytes, and these bytes."""
    data: bytes = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"facts": json.dumps(facts)})
    return hashlib.sha256(data).digest() + data


def unpack(packed: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the content that `pack` packed. Raises ValueError when the bytes are not whole."""
    digest, data = packed[:DIGEST], packed[DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError(f"{len(packed)} bytes do not have the SHA-256 that they begin with")
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return load(data), json.loads(header["__metadata__"]["facts"])
