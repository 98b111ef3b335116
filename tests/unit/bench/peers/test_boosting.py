"""Where the pinball loss decides, each quantile has settings of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.metrics import score
from bench.peers import boosting, lightgbm
from bench.sets import BenchSet, rolling

Toy = Callable[..., BenchSet]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightgbm, "TREES", 20)
    monkeypatch.setattr(lightgbm, "LEAVES", (4, 7))
    monkeypatch.setattr(
        lightgbm, "BASE", {**lightgbm.BASE, "num_threads": 1, "learning_rate": 0.25, "min_data_in_leaf": 20}
    )


@pytest.fixture
def rare(toy: Toy) -> BenchSet:
    """Thirty items over 140 days that sell on each seventh day."""
    rng = np.random.default_rng(0)
    sold = np.where(np.arange(140) % 7 == 3, rng.poisson(4, (30, 140)), 0)
    return toy(sold, metric="wql", seasons=(7,), horizon=7, context=28, origins=rolling(140, 7, 2, 7))


def test_each_quantile_is_tuned_by_its_own_pinball_loss(rare: BenchSet) -> None:
    result = lightgbm.fit_predict(rare.sealed(), 0)
    assert {*result.settings} == {"0.1", "0.5", "0.9", "mean"}
    for quantile in ("0.1", "0.5", "0.9"):
        tried = {name: error for name, error in result.tried.items() if name.startswith(f"quantile-{quantile} ")}
        assert len(tried) == 3 and result.settings[quantile]["setting"] == min(tried, key=lambda name: tried[name])
    # Sales are Poisson of mean 4 on days that a model can know: their own quantiles have a loss of about .25.
    errors = score(rare, result.forecasts)
    assert errors["wql"] < 0.4 and errors["coverage"] > 0.6
    again = lightgbm.fit_predict(rare.sealed(), 0, result.settings)
    assert again.settings == result.settings and not again.tried


def test_the_error_of_a_choice_is_the_metric_s(rare: BenchSet, monkeypatch: pytest.MonkeyPatch) -> None:
    class Zero:
        trees = 1

        def predict(self, x: Any, trees: int) -> Any:
            return np.zeros(len(x), np.float32)

    class Library:
        sizes, most = (1, 2), 1

        def prepare(self, rows: Any, like: Any = None) -> Any:
            return rows

        def fit(self, *_: Any) -> Any:
            return Zero()

    # Of zeros the pinball loss at q is 2 q |y|, over |y|; the L1 is |y| over |y|.
    for objective, error in (("quantile-0.9", 1.8), ("quantile-0.1", 0.2), ("regression_l1", 1.0)):
        choice, found = boosting._attempt(rare, objective, "none", 1, 0, Library())
        assert found == pytest.approx(error) and str(choice) == f"{objective} none 1"
