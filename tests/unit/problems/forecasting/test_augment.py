"""Further windows: what changes, what the label becomes, and what stays."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.problems.base import Labelled
from tasks.problems.forecasting.augment import AUGMENT


@pytest.fixture
def batch(sales: Any) -> Labelled:
    rows = sales.dataset.splits["train"][:12]
    soft = np.arange(12 * 15, dtype=np.float32).reshape(12, 5, 3)
    return Labelled(sales.dataset.inputs(rows), sales.dataset.target(rows), soft)


def applied(sales: Any, batch: Labelled, kind: str, seed: int = 0, **options: Any) -> Any:
    return AUGMENT[kind](**options).apply(batch, sales.dataset.contract, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", AUGMENT)
def test_the_original_stays_and_chance_comes_from_the_generator_alone(sales: Any, batch: Labelled, kind: str) -> None:
    before = {name: values.copy() for name, values in batch.inputs.items()}
    first, again, other = (applied(sales, batch, kind, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(batch.inputs[name], values) for name, values in before.items())
    assert all(np.array_equal(first.inputs[name], again.inputs[name]) for name in before)
    assert not np.array_equal(first.inputs["units"], other.inputs["units"])
    assert {name: (v.dtype, v.shape) for name, v in first.inputs.items()} == {
        name: (v.dtype, v.shape) for name, v in before.items()
    }
    assert first.soft.dtype == first.target.dtype == np.float32


def test_jitter_is_noise_on_observed_days_in_the_windows_own_size(sales: Any, batch: Labelled) -> None:
    observed = np.ones((2000, 14), dtype=np.float32)
    observed[:, 3] = 0
    windows = {"units": 50 * observed, "observed": observed}
    out = applied(sales, Labelled(windows, np.zeros((2000, 5))), "jitter", level=0.2)
    noise = np.delete(out.inputs["units"], 3, axis=1) - 50
    assert noise.std() == pytest.approx(10, rel=0.02) and abs(noise.mean()) < 0.3
    assert (out.inputs["units"][:, 3] == 0).all(), "not observed"
    assert np.array_equal(out.inputs["observed"], observed)
    assert batch.soft is not None
    wild = applied(sales, batch, "jitter", level=50.0)
    assert wild.inputs["units"].min() == 0, "amounts are not negative"
    assert np.array_equal(wild.target, batch.target) and np.array_equal(wild.soft, batch.soft)
    assert AUGMENT["jitter"].keeps_label


def test_scaling_takes_window_and_labels_by_one_factor(sales: Any, batch: Labelled) -> None:
    out = applied(sales, batch, "scaling", factor=3.0)
    assert batch.soft is not None
    factor = out.target.sum(axis=1) / batch.target.sum(axis=1)
    assert (factor >= 1 / 3).all() and (factor <= 3).all() and factor.min() < 0.8 and factor.max() > 1.2
    np.testing.assert_allclose(out.inputs["units"], batch.inputs["units"] * factor[:, None], rtol=1e-5)
    np.testing.assert_allclose(out.soft, batch.soft * factor[:, None, None], rtol=1e-5)
    assert np.array_equal(out.inputs["observed"], batch.inputs["observed"])


def test_mixup_is_one_share_of_everything_of_two_windows(sales: Any, batch: Labelled) -> None:
    out = applied(sales, batch, "mixup", concentration=1.0)
    assert batch.soft is not None and out.soft is not None
    partners = np.random.default_rng(0)
    drawn = partners.beta(1.0, 1.0, 12).astype(np.float32)
    share, other = np.maximum(drawn, 1 - drawn), partners.permutation(12)
    assert (share >= 0.5).all()
    expected = share[:, None] * batch.target + (1 - share[:, None]) * batch.target[other]
    np.testing.assert_allclose(out.target, expected, rtol=1e-5)
    # Soft target (n, d, c) counts on by 15 a row, so the mixed one shows the share that was given away.
    given = (out.soft - batch.soft)[:, 0, 0] / (15.0 * (other - np.arange(12)) + (other == np.arange(12)))
    moved = other != np.arange(12)
    np.testing.assert_allclose(given[moved], (1 - share)[moved], atol=1e-4)
    for name in ("units", "observed", "future"):
        weight = share.reshape(-1, *[1] * (batch.inputs[name].ndim - 1))
        mixed = weight * batch.inputs[name] + (1 - weight) * batch.inputs[name][other]
        np.testing.assert_allclose(out.inputs[name], mixed, rtol=1e-4, atol=1e-5)
    assert np.array_equal(out.inputs["static"], batch.inputs["static"]), "codes are those of the larger share"


@pytest.mark.parametrize(
    ("kind", "options"), [("jitter", {"level": 0}), ("scaling", {"factor": 1}), ("mixup", {"concentration": -1})]
)
def test_bad_options_are_refused(kind: str, options: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        AUGMENT[kind](**options)
