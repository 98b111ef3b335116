"""Labelled rows: columns as features, splits that never change, and rows read under another contract."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.errors import ConfigError, DataError
from tasks.problems.base import Raw
from tasks.problems.tabular.labelled.columns import model_inputs
from tasks.problems.tabular.labelled.dataset import LabelledRows
from tests.unit.problems.tabular.labelled.homes import AS_OF, CLASSES, VALUE, YES_NO, dataset, homes, problem


def _splits(rows: LabelledRows, table: pl.DataFrame, by: str = "home") -> dict[str, set[str]]:
    """The values of a column in each split."""
    found = table[rows.table["_place"]][by].to_numpy()
    return {name: set(found[places]) for name, places in rows.splits.items()}


def test_a_row_s_inputs_have_these_values() -> None:
    contract = dataset().contract
    row = pl.DataFrame(
        {"area": [120.5, None], "rooms": [3, 2], "garden": [True, None], "listed": [date(2026, 5, 4), None],
         "town": ["B", "Z"]},
    )  # fmt: skip
    found = model_inputs(row, problem().options, contract)
    assert found["numeric"].tolist() == [[120.5, 3, 1, 20577, 5, 4, 1], [0, 2, 0, 0, 0, 0, 0]]
    assert found["observed"].tolist() == [[1, 1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 0, 0, 0]]
    assert found["codes"].tolist() == [[contract.categories["town"].index("B")], [0]]
    assert contract.categories["town"] == ("<unknown>", "A", "B", "C"), "D has fewer training rows than min_count"


def test_equal_rows_are_in_equal_splits_every_night_and_new_rows_move_none() -> None:
    table = homes()
    first = _splits(dataset(table=table), table)
    later = table.sample(fraction=1, shuffle=True, seed=1).with_columns(price=pl.col("price") + 1).head(300)
    again = _splits(dataset(table=later), later)
    for name, ids in again.items():
        assert ids <= first[name]
    assert 30 < len(first["test"]) < 90 and 30 < len(first["valid"]) < 90
    assert not first["train"] & first["test"]


def test_rows_without_an_id_of_equal_values_are_in_one_split_and_one_fold() -> None:
    table = pl.concat([homes(), homes().with_columns(price=pl.col("price") + 5)])
    rows = dataset(table=table, id=[])
    half = len(rows.groups) // 2
    assert (rows.groups[:half] == rows.groups[half:]).all()
    assert (rows.table["_split"][:half] == rows.table["_split"][half:]).all()
    as_float = dataset(table=table.with_columns(pl.col("rooms").cast(pl.Float64)), id=[])
    assert as_float.table["_split"].equals(rows.table["_split"]), "however a source types its numbers"


def test_no_group_is_in_two_splits() -> None:
    table = homes()
    alone = _splits(dataset(table=table), table, "owner")
    assert alone["train"] & alone["test"], "without the option some are"
    found = _splits(dataset(table=table, group="owner"), table, "owner")
    assert not (found["train"] & found["test"] or found["train"] & found["valid"] or found["valid"] & found["test"])
    timed = dataset(table=table, group="owner", time="listed")
    found = _splits(timed, table, "owner")
    assert not (found["train"] & found["test"] or found["train"] & found["valid"] or found["valid"] & found["test"])
    assert len(timed.groups) < len(table), "earlier rows of a later group are left out"


def test_by_time_later_splits_are_later_and_nothing_after_as_of_is_read() -> None:
    table = homes()
    rows = dataset(table=table, time="listed")
    days = table["listed"][rows.table["_place"]]
    train, valid, test = (days[rows.splits[name]] for name in ("train", "valid", "test"))
    assert train.max() < valid.min() and valid.max() < test.min()  # type: ignore[operator]
    before = AS_OF - timedelta(days=20)
    early = problem(time="listed").features({"rows": table.lazy()}, before)
    assert isinstance(early, LabelledRows)
    assert table["listed"][early.table["_place"]].max() == before


def test_rows_without_a_label_are_in_no_split_and_are_predicted() -> None:
    table = homes().with_columns(price=pl.when(pl.col("home") < "h0050").then(None).otherwise("price"))
    rows = dataset(table=table)
    assert len(rows.groups) == 350
    found = problem().predict({"rows": table.drop("price").lazy()}, AS_OF, rows.contract, Constant(rows.contract))
    assert found.columns == ["home", "predicted"] and found["home"].to_list() == table["home"].to_list()


class Constant:
    """A model of zeros."""

    def __init__(self, contract: Any) -> None:
        self.names, self.width = tuple(contract.inputs), contract.output_shape[0]

    def __call__(self, inputs: Any) -> Any:
        return np.zeros((len(inputs["numeric"]), self.width), np.float32)


def test_classes_are_predicted_with_chances_and_without_an_id_by_place() -> None:
    rows = dataset(CLASSES, id=[])
    found = problem(CLASSES, id=[]).predict({"rows": homes().lazy()}, AS_OF, rows.contract, Constant(rows.contract))
    assert found.columns == ["row", "p_small", "p_large", "p_huge", "predicted"]
    assert found.row(7) == (7, pytest.approx(1 / 3), pytest.approx(1 / 3), pytest.approx(1 / 3), "small")
    # The place is that in the caller's table, some of whose rows are not known yet.
    tomorrow = pl.when(pl.col("home") == "h0000").then(AS_OF + timedelta(1)).otherwise("listed")
    table = homes().with_columns(listed=tomorrow)
    rows = dataset(CLASSES, id=[], time="listed")
    found = problem(CLASSES, id=[], time="listed").predict(
        {"rows": table.lazy()}, AS_OF, rows.contract, Constant(rows.contract)
    )
    assert found["row"].to_list() == list(range(1, 400))


def test_labels_are_numbers_of_classes_and_a_weight_stands_beside() -> None:
    table = homes()
    rows = dataset(CLASSES, table)
    all_rows = np.arange(len(rows.groups))
    assert [("small", "large", "huge")[place] for place in rows.target(all_rows)] == table["size"].to_list()
    assert (dataset(YES_NO, table).target(all_rows) == table["sold"].cast(pl.Int64).to_numpy()).all()
    huge = dataset(YES_NO, table, target="size", positive="huge")
    assert (huge.target(all_rows) == (table["size"] == "huge").cast(pl.Int64).to_numpy()).all()
    weighed = dataset(table=table, weight="weigh").target(all_rows)
    assert weighed.shape == (400, 2) and (weighed[:, 1] == table["weigh"].to_numpy()).all()


def test_rows_are_read_under_another_release_s_contract_and_columns() -> None:
    table = homes()
    old = dataset(table=table, numbers=["area", "rooms", "weigh"], booleans=[], min_count=1)
    tonight = dataset(table=table)
    raw = Raw({"rows": table.lazy()}, AS_OF)
    under = tonight.under(old.contract, raw)
    rows = tonight.splits["test"]
    for name, values in old.inputs(rows).items():
        np.testing.assert_array_equal(under.inputs(rows, [name])[name], values)
    with pytest.raises(ValueError, match="target is sold, tonight's is price"):
        tonight.under(dataset(YES_NO, table, target="sold").contract, raw)
    with pytest.raises(ValueError, match="which tonight's table does not have"):
        tonight.under(old.contract, Raw({"rows": table.drop("weigh").lazy()}, AS_OF))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    rows = dataset()
    rows.save(tmp_path)
    again = problem().load(tmp_path)
    everything = np.arange(len(rows.groups))
    for name, values in rows.inputs(everything).items():
        np.testing.assert_array_equal(again.inputs(everything)[name], values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "brier"}, "metric: brier does not measure value; there are: rmse, mae, rmsle"),
        ({"metric": "rmsle", "low": None}, "low: rmsle is of values from 0"),
        ({"task": "classes", "low": None}, "classes: name the target's values"),
        ({"categories": ["town", "area"]}, "categories: column 'area' is named twice"),
        ({"numbers": ["price"]}, "numbers: column 'price' is named twice"),
        ({"group": "price"}, "group: the name 'price' is taken"),
        ({**YES_NO, "low": None, "id": ["p_yes"]}, "id: the name 'p_yes' is taken"),
        ({"time": "town"}, "time: 'town' is a column of dates"),
        ({"numbers": [], "booleans": [], "dates": [], "categories": []}, "numbers: name what to predict from"),
        ({"numbers": ["area", "listed_days"]}, "two features would be called listed_days"),
        ({"positive": "x"}, "positive: only task yes-no has one"),
        ({"entity": "home"}, "entity: Extra inputs"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        problem(**changes)


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        (VALUE, {"price": pl.lit(None, pl.Float64)}, "price: no row has a label"),
        (CLASSES, {"size": pl.lit("tiny")}, "size: 'tiny' in 400 rows is none of problem.classes"),
        (VALUE | {"weight": "weigh"}, {"weigh": pl.lit(None, pl.Float64)}, "weigh: null in 400 rows with a label"),
        (VALUE | {"group": "owner"}, {"owner": pl.lit(None, pl.String)}, "owner: null in 400 rows with a label"),
    ],
)
def test_labels_that_cannot_be_learned_are_named(options: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        dataset(options, homes().with_columns(**changes))
    with pytest.raises(DataError, match=r"price: the table has no such column"):
        dataset(VALUE, homes().drop("price"))
    with pytest.raises(DataError, match=r"owner: the table has no such column, and training needs the group"):
        dataset(VALUE, homes().drop("owner"), group="owner")
    with pytest.raises(DataError, match=r"no (valid|test) row among 2 labelled ones"):
        dataset(VALUE, homes(2))
