"""This peer is N-HiTS (Challu et al. 2023, arXiv:2201.12886) by neuralforecast."""

from collections.abc import Mapping
from typing import Any

from neuralforecast.models import NHITS

from bench.peers import neural
from bench.peers.base import Result
from bench.sets import BenchSet

NETWORK = neural.Network(
    NHITS,
    {"mlp_units": [[256, 256]] * 3, "learning_rate": 1e-3},
    max_steps=800,
)


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """See `neural.fit_predict`."""
    return neural.fit_predict(data, seed, NETWORK, chosen)
