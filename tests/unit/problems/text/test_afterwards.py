"""What came of kept predictions of texts: labels that were not known when they were made."""

from datetime import timedelta

import polars as pl
import pytest

from tasks.core.errors import ConfigError
from tasks.problems.base import Since
from tests.unit.problems.text.letters import AS_OF, dataset, letters, problem


def since() -> Since:
    """A tenth of the letters has got its label since."""
    now = letters().with_columns(pl.col("label").fill_null("refund"))
    return Since(AS_OF, AS_OF + timedelta(days=1), {"rows": now.lazy()}, lambda: {"rows": letters().lazy()})


def test_letters_that_got_their_label_since_are_scored_beside_the_shares_of_training() -> None:
    contract = dataset().contract
    told = problem().naive_predictions(since(), contract)
    assert told["predicted"].n_unique() == 1 and len(told) == 360
    found = problem().outcomes(told, since(), contract).rows
    late = letters().filter(pl.col("label").is_null())
    assert sorted(found["entity"]) == sorted(late["letter"]) and found["truth"].unique().to_list() == [1.0]
    share = contract.statistics["shares"][1]
    assert found["loss"].to_list() == pytest.approx([-pl.Series([share]).log()[0]] * len(late), rel=1e-5)
    assert set(found["by:language"]) == {"de", "en"} and set(found["by:label"]) == {"refund"}


def test_without_an_id_nobody_can_tell_which_letter_a_label_is_of() -> None:
    plain = problem(id=[])
    told = plain.naive_predictions(since(), dataset(id=[]).contract)
    with pytest.raises(ConfigError, match=r"problem\.id"):
        plain.outcomes(told, since(), dataset(id=[]).contract)
