"""A peer is a practitioner's other choice: a module here with `fit_predict`, whose libraries load with it."""

from importlib import import_module
from typing import cast

from bench.peers.base import Peer
from tasks.core.errors import ConfigError

PEERS = ("seasonal-naive", "statistical", "lightgbm", "catboost", "nhits", "tide", "tsmixerx", "patchtst")


def get_peer(name: str) -> Peer:
    """Return the peer called `name`. Raises ConfigError if there is none, or if its library is not installed."""
    if name not in PEERS:
        raise ConfigError(f"peer: there is no {name!r}; there are: {', '.join(PEERS)}")
    try:
        return cast(Peer, import_module(f"bench.peers.{name.replace('-', '_')}").fit_predict)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"peer {name}: {error.name} is not installed here; run it as `make bench-setup` says"
        ) from error
