"""This peer is TSMixerx (Chen et al. 2023, arXiv:2303.06053) by neuralforecast; a window of it is of all series."""

from collections.abc import Mapping
from typing import Any

from neuralforecast.models import TSMixerx

from bench.peers import neural
from bench.peers.base import Result
from bench.sets import BenchSet

NETWORK = neural.Network(
    TSMixerx,
    {"n_block": 2, "ff_dim": 64, "dropout": 0.1, "learning_rate": 1e-3},
    max_steps=800,
    windows=32,
)


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """See `neural.fit_predict`."""
    return neural.fit_predict(data, seed, NETWORK, chosen)
