"""A peer is another library's recommender: a module here with `fit_predict`, which alone imports that library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bench.ranking.exchange import Rows
from tasks.core.errors import ConfigError
from tasks.problems.ranking.metrics import score_ranking

PEERS = ("rectools-sasrec", "implicit-als")


@dataclass(frozen=True)
class Result:
    """A result has scores (n, items) of the test rows, and how they came about.

    `size`: bytes of the fitted numbers in float32. `settings`: what was chosen; `tried`: NDCG@10 on validation of each
    choice. `fit_seconds`: of the processor, for the chosen one alone.
    """

    scores: NDArray[np.float32]
    size: int
    settings: Mapping[str, Any]
    tried: Mapping[str, float]
    fit_seconds: float


Peer = Callable[[Rows, int], Result]


def get_peer(name: str) -> Peer:
    """Return the peer called `name`. Raises ConfigError if there is none, or if its library is not installed."""
    if name not in PEERS:
        raise ConfigError(f"peer: there is no {name!r}; there are: {', '.join(PEERS)}")
    try:
        return cast(Peer, import_module(f"bench.ranking.peers.{name.replace('-', '_')}").fit_predict)
    except ModuleNotFoundError as error:
        said = f"peer {name}: {error.name} is not installed here; run it as `make bench-ranking-setup` says"
        raise ConfigError(said) from error


def ndcg(rows: Rows, scores: NDArray[np.float32]) -> float:
    """Return NDCG@10 of scores (n, items) of the validation rows, by the product's own metric."""
    return 1 - score_ranking(scores, rows.valid_target()).error
