"""The service's index of drift is the pipeline's."""

import numpy as np
import polars as pl
import pytest

from serving.service.drift import Field
from tasks.gates import drift


@pytest.mark.parametrize("share_of_zeros", [0.0, 0.4])
def test_numbers_have_the_index_of_the_gates(share_of_zeros: float) -> None:
    rng = np.random.default_rng(0)
    then, now = rng.gamma(2, 10, 20_000), rng.gamma(2, 13, 20_000)
    for values in (then, now):
        values[rng.random(len(values)) < share_of_zeros] = 0
        values[rng.random(len(values)) < 0.03] = np.nan
    reference, tonight = drift._numbers(then), drift._numbers(now)
    profile = drift.profile_json({"x": reference}, {})["inputs"]["x"]
    field = Field(profile)
    field.see(pl.Series(now))
    assert field.index() == pytest.approx(drift.stability_index(tonight, reference), rel=0.1)


def test_categories_have_the_index_of_the_gates() -> None:
    then, now = pl.Series(["a"] * 70 + ["b"] * 20 + ["c"] * 10), pl.Series(["a"] * 40 + ["b"] * 50 + ["d"] * 10)
    reference, tonight = drift._categories(then), drift._categories(now)
    field = Field(drift.profile_json({"x": reference}, {})["inputs"]["x"])
    field.see(now)
    assert field.index() == pytest.approx(drift.stability_index(tonight, reference), rel=0.35)
