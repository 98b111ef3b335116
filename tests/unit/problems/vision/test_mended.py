"""What is harmless stays possible while a champion is there."""

from typing import Any

import pytest

from tasks.problems.base import Raw
from tests.unit.problems.vision import shapes

LABELS = shapes.labels()


@pytest.mark.parametrize(
    ("tonight", "champion"),
    [
        ({"by": []}, {"by": ["pen"]}),
        ({"id": "id"}, {"id": None}),
        ({"max_unreadable": 0.1}, {"max_unreadable": 0.0}),
        ({}, {"most_pixels": 10, "fit": "stretch", "height": 4}),
    ],
)
def test_a_champion_of_other_harmless_options_is_compared(tonight: dict[str, Any], champion: dict[str, Any]) -> None:
    made = shapes.dataset(LABELS, **tonight)
    theirs = shapes.problem(**champion).draft_contract()
    under = made.under(theirs, Raw({"labels": LABELS.lazy()}, shapes.AS_OF))
    rows = made.splits["test"]
    assert under.inputs(rows)["image"].shape == (len(rows), *theirs.inputs["image"][1])
    assert set(under.segments) == set(made.segments)
