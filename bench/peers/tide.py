"""This peer is TiDE (Das et al. 2023, arXiv:2304.08424) by neuralforecast."""

from collections.abc import Mapping
from typing import Any

from neuralforecast.models import TiDE

from bench.peers import neural
from bench.peers.base import Result
from bench.sets import BenchSet

NETWORK = neural.Network(
    TiDE,
    {"hidden_size": 256, "dropout": 0.2, "learning_rate": 1e-3},
    max_steps=800,
)


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """See `neural.fit_predict`."""
    return neural.fit_predict(data, seed, NETWORK, chosen)
