"""Where a killed training finds its last epoch: one object in a store, as safetensors."""

import json
import struct
from dataclasses import dataclass
from typing import Any, Protocol

from safetensors.torch import load, save
from torch import Tensor

from tasks.storage import ObjectStore


class Checkpoint(Protocol):
    """A place for the state of one training."""

    def load(self) -> bytes | None:
        """The last saved state, None when there is none."""
        ...

    def save(self, data: bytes) -> None:
        """Replace the state, atomically."""
        ...


@dataclass(frozen=True)
class StoreCheckpoint:
    """A checkpoint at `key` of a store."""

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
    """Tensors and JSON-able facts as safetensors bytes."""
    data: bytes = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"facts": json.dumps(facts)})
    return data


def unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `pack` packed."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return load(data), json.loads(header["__metadata__"]["facts"])
