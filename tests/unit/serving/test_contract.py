"""What arrays may hold: numbers within the limits that a release names, and CSV rows of the header's shape."""

from typing import Any

import numpy as np
import pytest

from serving.client import InputError
from serving.contract import Contract
from tasks.core.errors import DataError
from tasks.scoring.rows import from_csv
from tasks.tables.table import Column, TableContract

FORECASTS = {
    "problem": "forecasting",
    "inputs": {"units": ["float32", [3]], "observed": ["float32", [3]]},
    "order": ["units", "observed"],
    "output_shape": [1, 1],
    "categories": {},
}
NAMED = {"limits": {"units": [0, None], "observed": [0, 1]}, "settings": {}}
OF_BEFORE = {"settings": {"options": {"positive": True}}}


def check(more: dict[str, Any], **changes: list[float]) -> int:
    arrays = {"units": [1.0, 2.0, 0.0], "observed": [1.0, 1.0, 0.0]} | changes
    contract = Contract.from_json({**FORECASTS, **more})
    return contract.check({name: np.array([row], np.float32) for name, row in arrays.items()}, contract.inputs)


@pytest.mark.parametrize("more", [NAMED, OF_BEFORE])
def test_numbers_outside_their_limits_are_refused_by_place(more: dict[str, Any]) -> None:
    assert check(more) == 1
    with pytest.raises(InputError, match=r"^units: -5\.0 at \[0, 1\]; expected numbers of at least 0$"):
        check(more, units=[1, -5, 0])
    with pytest.raises(InputError, match=r"^observed: 5\.0 at \[0, 2\]; expected numbers of at most 1$"):
        check(more, observed=[1, 1, 5])


def test_values_that_are_no_amounts_may_be_below_zero() -> None:
    assert check({"settings": {"options": {"positive": False}}}, units=[-5, -6, 0]) == 1


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("day,units\n2026-03-01,1\n2026-03-02\n", "line 3 has 1 fields, 2 are expected"),
        ("day,units,units\n2026-03-01,1,2\n", "column units is there twice"),
        ('day,units\n"2026\n-03",1,2\n', "line 3 has 3 fields, 2 are expected"),
    ],
)
def test_rows_of_another_shape_than_the_header_are_refused(body: str, fault: str) -> None:
    contract = TableContract((Column("day", "date", key=True), Column("units", "number")), "day", "units", ())
    with pytest.raises(DataError, match=f"^the body cannot be read as CSV: {fault}$"):
        from_csv(body.encode(), contract, 10)
