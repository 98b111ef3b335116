"""Tabular problem: features and labels without leakage, classes, splits, errors, losses, scoring."""

import math
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.core.files import read_json
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Floats, Inputs, Raw
from tasks.problems.blocks.class_losses import Kl
from tasks.problems.blocks.classes import roc_auc
from tasks.problems.contracts import contract_from_json
from tasks.problems.tabular.dataset import EntityRows, build_rows
from tasks.problems.tabular.history import Origins, amounts_after, features
from tasks.problems.tabular.metrics import transitions
from tasks.problems.tabular.options import Options
from tasks.problems.tabular.problem import Tabular

FIRST = date(2024, 1, 1)
AS_OF = FIRST + timedelta(days=139)
TEST_ORIGIN = AS_OF - timedelta(days=28)
OPTIONS: dict[str, Any] = {
    "entity": "customer",
    "date": "day",
    "target": "paid",
    "windows": [7, 28],
    "amounts": ["pieces"],
    "parts": ["paid_fresh"],
    "categories": ["city"],
    "edges": [10, 40],
}


def rows_of(*rows: tuple[str, int, float, int, float, str | None]) -> pl.LazyFrame:
    """(customer, days since FIRST, paid, pieces, paid_fresh, city)"""
    days = [FIRST + timedelta(days=row[1]) for row in rows]
    columns = list(zip(*rows, strict=True))
    return pl.LazyFrame(
        {
            "day": days,
            "customer": columns[0],
            "paid": columns[2],
            "pieces": columns[3],
            "paid_fresh": columns[4],
            "city": pl.Series(columns[5], dtype=pl.String),
        }
    )


def shop(customers: int = 30, days: int = 140) -> pl.LazyFrame:
    """Customers 0, 3, 6… stop buying after day 60; the last ones buy most."""
    generator = np.random.default_rng(0)
    rows = []
    for customer in range(customers):
        for day in range(customer % 5, days if customer % 3 else 60, 4):
            paid = round(float(generator.gamma(2, 1 + customer / 4)), 2)
            rows.append(
                (f"c{customer:02d}", day, paid, 1 + customer % 3, round(paid / 2, 2), ("A", "B", None)[day % 3])
            )
    return rows_of(*rows)


def problem(**changes: Any) -> Tabular:
    built = get_problem(Spec(kind="tabular", **{**OPTIONS, **changes}))
    assert isinstance(built, Tabular)
    return built


def arrays(dataset: Dataset) -> Inputs:
    return dataset.inputs(np.arange(len(dataset.groups)))


@pytest.fixture(scope="module")
def dataset() -> EntityRows:
    built = problem().features({"events": shop()}, AS_OF)
    assert isinstance(built, EntityRows)
    return built


def test_a_last_fit_learns_from_no_day_that_labels_the_test(dataset: EntityRows) -> None:
    newest = dataset.newest()
    origins = newest.table["origin"].to_numpy()
    assert len(newest.splits["valid"]) == 0
    learned, test = (origins[newest.splits[name]] for name in ("train", "test"))
    before = [origins[dataset.splits[name]] for name in ("train", "valid")]
    assert set(learned) == set(before[0]) | set(before[1])
    assert learned.max() + np.timedelta64(dataset.options.horizon_days, "D") <= test.min()


def test_features_of_a_tiny_table_have_these_values() -> None:
    table = rows_of(
        ("b", 0, 1.0, 1, 1.0, "A"),
        ("a", 30, 20.0, 4, 5.0, "A"),
        ("a", 36, 10.0, 2, 0.0, "B"),
        ("a", 40, 0.0, 1, 0.0, None),
        ("a", 41, 99.0, 9, 9.0, "C"),
    )
    options = Options.model_validate(OPTIONS)
    frame = features(table, Origins(FIRST + timedelta(days=40)), options).collect()
    assert frame["customer"].to_list() == ["a", "b"]
    a = frame.row(0, named=True)
    assert a["recency_days"] == 4
    assert a["tenure_share"] == pytest.approx(11 / 41, abs=1e-4)
    assert (a["active_days_7"], a["active_days_28"]) == (1, 2)
    assert (a["paid_7"], a["paid_28"], a["pieces_7"], a["pieces_28"]) == (10, 30, 3, 7)
    assert a["paid_trend"] == pytest.approx((10 / 7) / (30 / 28), abs=1e-4)
    assert a["paid_fresh_share"] == pytest.approx(5 / 30, abs=1e-4)
    assert (a["previous"], a["city"]) == (30, "unknown")
    b = frame.row(1, named=True)
    assert (b["recency_days"], b["tenure_share"], b["paid_28"], b["paid_trend"], b["previous"]) == (28, 1, 0, 0, 0)
    assert b["city"] == "A"


def test_a_young_table_is_extrapolated_to_the_window() -> None:
    table = rows_of(("a", 0, 3.0, 1, 0.0, "A"), ("a", 13, 4.0, 1, 0.0, "A"))
    row = (
        features(table, Origins(FIRST + timedelta(days=13)), Options.model_validate(OPTIONS))
        .collect()
        .row(0, named=True)
    )
    assert (row["paid_7"], row["paid_28"], row["active_days_28"], row["previous"]) == (4, 14, 4, 7)


def test_amounts_after_start_the_day_after_the_origin_and_end_on_the_last_day() -> None:
    table = rows_of(*[("a", day, amount, 1, 0.0, None) for day, amount in ((10, 1.0), (11, 2.0), (38, 4.0), (39, 8.0))])
    options = Options.model_validate(OPTIONS)
    assert amounts_after(table, Origins(FIRST + timedelta(days=10)), options).collect()["amount"].to_list() == [6.0]


def test_several_origins_give_what_each_gives_alone() -> None:
    options = Options.model_validate(OPTIONS)
    together = features(shop(), Origins(TEST_ORIGIN, 7, 5), options).collect()
    alone = pl.concat(
        features(shop(), Origins(TEST_ORIGIN - timedelta(weeks=k)), options).collect() for k in (4, 3, 2, 1, 0)
    )
    assert together.equals(alone)


def test_nothing_after_an_origin_changes_its_inputs() -> None:
    changed = shop().with_columns(
        pl.when(pl.col("day") > TEST_ORIGIN).then(pl.col("paid") * 100).otherwise("paid").alias("paid"),
        pl.when(pl.col("day") > TEST_ORIGIN).then(pl.lit("Z")).otherwise("city").alias("city"),
    )
    one, other = problem().features({"events": shop()}, AS_OF), problem().features({"events": changed}, AS_OF)
    for name, values in arrays(one).items():
        assert np.array_equal(values, arrays(other)[name])
    assert one.contract == other.contract
    test = one.splits["test"]
    assert not np.array_equal(one.target(test), other.target(test))


def test_rows_after_as_of_are_not_read() -> None:
    one = problem().features({"events": shop(days=140)}, AS_OF)
    other = problem().features({"events": shop(days=140).filter(pl.col("day") <= AS_OF)}, AS_OF)
    later = problem().features({"events": pl.concat([shop(), rows_of(("c00", 160, 500.0, 1, 0.0, "Q"))])}, AS_OF)
    for compared in (other, later):
        assert one.contract == compared.contract
        assert np.array_equal(one.target(one.splits["test"]), compared.target(compared.splits["test"]))


def test_label_days_of_splits_do_not_overlap(dataset: EntityRows) -> None:
    origins = {name: dataset.table["origin"].gather(rows) for name, rows in dataset.splits.items()}
    assert set(origins["test"]) == {AS_OF - timedelta(days=28)}
    assert set(origins["valid"]) == {AS_OF - timedelta(days=56)}
    assert origins["train"].max() == AS_OF - timedelta(days=84)
    assert origins["train"].min() == AS_OF - timedelta(days=84 + 28)
    assert sum(len(rows) for rows in dataset.splits.values()) == dataset.table.height


def test_customers_who_buy_nothing_have_the_first_class(dataset: EntityRows) -> None:
    test = dataset.table[dataset.splits["test"]]
    assert test.height == 30
    assert test.filter(pl.col("label") == 0)["customer"].to_list() == [f"c{number:02d}" for number in range(0, 30, 3)]


def test_given_edges_bound_the_classes_and_belong_to_the_upper_one() -> None:
    buys = [("a", day, 1.0, 1, 0.0, None) for day in range(140)]
    after = AS_OF - FIRST - timedelta(days=5)
    buys += [(name, after.days, amount, 1, 0.0, None) for name, amount in (("l", 9.99), ("m", 10.0), ("h", 40.0))]
    buys += [(name, 0, 1.0, 1, 0.0, None) for name in "lmh"]
    built = problem().features({"events": rows_of(*buys)}, AS_OF)
    assert isinstance(built, EntityRows)
    labels = dict(built.table[built.splits["test"]].select("customer", "label").iter_rows())
    assert labels == {"a": 2, "l": 1, "m": 2, "h": 3}


def test_quantile_edges_come_from_training_rows_only() -> None:
    options = {key: value for key, value in OPTIONS.items() if key != "edges"}
    training_end = AS_OF - timedelta(days=56)
    changed = shop().with_columns(pl.when(pl.col("day") > training_end).then(9.0).otherwise("paid").alias("paid"))
    edges = [
        Tabular(options).features({"events": table}, AS_OF).contract.statistics["edges"] for table in (shop(), changed)
    ]
    assert edges[0] == edges[1]
    even = rows_of(*[(f"c{n:02d}", day, 1.0 + n, 1, 0.0, None) for n in range(9) for day in range(0, 140, 28)])
    assert Tabular(options).features({"events": even}, AS_OF).contract.statistics["edges"] == [
        pytest.approx(3.67),
        pytest.approx(6.33),
    ]


def test_standardisation_uses_training_rows_only() -> None:
    training_end = AS_OF - timedelta(days=84)
    changed = shop().with_columns(pl.when(pl.col("day") > training_end).then(900).otherwise("pieces").alias("pieces"))
    one, other = (problem().features({"events": table}, AS_OF) for table in (shop(), changed))
    assert one.contract.statistics == other.contract.statistics
    values = np.log1p(one.inputs(one.splits["train"])["numeric"].astype(np.float64))
    assert one.contract.statistics["log_mean"] == pytest.approx(values.mean(axis=0).tolist(), abs=1e-5)


def test_too_short_a_history_is_refused_with_the_days_it_needs() -> None:
    with pytest.raises(DataError, match="table: 100 days of history, but the splits need 112"):
        problem().features({"events": shop(days=100)}, FIRST + timedelta(days=99))


def test_a_dataset_is_saved_and_loaded_and_equal_data_gives_equal_bytes(dataset: EntityRows, tmp_path: Path) -> None:
    dataset.save(tmp_path / "a")
    problem().features({"events": shop()}, AS_OF).save(tmp_path / "b")
    for name in ("rows.parquet", "contract.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    loaded = problem().load(tmp_path / "a")
    assert contract_from_json(read_json(tmp_path / "a" / "contract.json")).inputs == dataset.contract.inputs
    rows = dataset.splits["valid"]
    for name, values in dataset.inputs(rows).items():
        assert np.array_equal(values, loaded.inputs(rows)[name]) and values.dtype == loaded.inputs(rows)[name].dtype
    assert list(loaded.inputs(rows)) == ["numeric", "codes"]
    assert np.array_equal(loaded.segments["previous"], dataset.segments["previous"])


def test_another_contracts_code_book_applies_but_not_its_classes(dataset: EntityRows) -> None:
    contract = dataset.contract
    turned = contract.__class__(**{**contract.__dict__, "categories": {"city": ("unknown", "B")}})
    codes = dataset.under(turned).inputs(dataset.splits["test"])["codes"]
    cities = dataset.segments["city"][dataset.splits["test"]]
    assert codes[:, 0].tolist() == [int(city == "B") for city in cities]
    other = contract.__class__(**{**contract.__dict__, "statistics": {**contract.statistics, "edges": [10, 41]}})
    with pytest.raises(ValueError, match=r"edges \[10, 41\], tonight's \[10.0, 40.0\]"):
        dataset.under(other)
    fewer = problem(parts=[]).features({"events": shop()}, AS_OF).contract
    with pytest.raises(ValueError, match=r"its problem\.parts is \(\), tonight's is"):
        dataset.under(fewer)


@pytest.mark.parametrize(
    "changes",
    [{"windows": [14, 28, 56]}, {"parts": []}, {"amounts": []}, {"categories": []}, {"windows": [28, 84], "parts": []}],
    ids=str,
)
def test_a_contract_of_other_features_is_rebuilt_from_the_raw_table(
    dataset: EntityRows, changes: dict[str, Any]
) -> None:
    theirs = problem(**changes).features({"events": shop()}, AS_OF)
    under = dataset.under(theirs.contract, Raw({"events": shop()}, AS_OF))
    for split in ("train", "valid", "test"):
        rows = theirs.splits[split]
        assert np.array_equal(under.splits[split], rows)
        assert np.array_equal(under.target(rows), dataset.target(rows))
        expected = theirs.inputs(rows)
        assert under.inputs(rows).keys() == expected.keys()
        assert all(np.array_equal(values, expected[name]) for name, values in under.inputs(rows).items())


def test_a_contract_of_features_that_the_raw_table_cannot_give_is_refused(dataset: EntityRows) -> None:
    raw = Raw({"events": shop()}, AS_OF)
    own = problem(windows=[14, 28]).features({"events": shop()}, AS_OF).contract
    options = own.settings["options"]

    def told(contract: Any, table: Raw = raw) -> str:
        with pytest.raises(ValueError) as failure:  # noqa: PT011 the message is what is tested
            dataset.under(contract, table)
        return str(failure.value)

    assert "need paid_cash, which" in told(
        replace(
            own, settings={**own.settings, "options": {**options, "parts": ["paid_cash"]}, "features": ["recency_days"]}
        )
    )
    assert "features moon are no longer made" in told(replace(own, settings={**own.settings, "features": ["moon"]}))
    assert "its problem.horizon_days is 14, tonight's is 28" in told(
        problem(horizon_days=14, edges=[10, 40]).features({"events": shop()}, AS_OF).contract
    )
    assert "does not hold the rows" in told(own, Raw({"events": shop(customers=10)}, AS_OF))


def test_log_loss_and_metrics_have_hand_computed_values() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    score = problem(classes=["none", "some", "much"], edges=[10]).score(
        np.log(chances).astype(np.float32), np.array([0, 1, 2, 2])
    )
    assert score.loss == pytest.approx([-math.log(0.7), -math.log(0.6), -math.log(0.25), -math.log(0.6)], rel=1e-5)
    assert score.error == pytest.approx(0.6911551, abs=1e-6)
    assert score.weight.tolist() == [1, 1, 1, 1]
    assert score.metrics["accuracy"] == 0.75
    assert score.metrics["macro_f1"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert score.metrics["brier"] == pytest.approx((0.14 + 0.26 + 0.875 + 0.24) / 4, abs=1e-6)
    assert score.metrics["calibration_error"] == pytest.approx((0.3 + 0.8 + 0.5) / 4), "0.4 and 0.4 share a bin"
    assert score.metrics["buyer_auc"] == pytest.approx(1.0)


def test_auc_counts_ties_half() -> None:
    positive = np.array([True, False, True, False])
    assert roc_auc(np.array([0.9, 0.9, 0.4, 0.1]), positive) == pytest.approx(0.625)


def test_an_impossible_prediction_has_a_finite_loss() -> None:
    score = problem().score(np.array([[1000.0, 0, 0, 0]], dtype=np.float32), np.array([3]))
    assert 700 < score.error < 1000


def test_soft_loss_at_temperature_two_has_its_hand_computed_value() -> None:
    contract = problem().features({"events": shop()}, AS_OF).contract
    hard, soft = problem().hard_loss(contract), Kl(temperature=2.0).bind(contract)
    output, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0.0]])
    # Softened teacher (3/4, 1/4), student (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308120; times T^2 = 4.
    assert soft(output, teacher, torch.tensor([0])).item() == pytest.approx(0.5232481, abs=1e-6)
    assert hard(output, torch.tensor([0])).item() == pytest.approx(math.log(2), abs=1e-6)


def test_the_naive_prediction_is_what_followed_the_previous_class() -> None:
    table = np.exp(transitions(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2))
    assert table == pytest.approx(np.array([[3 / 5, 2 / 5], [1 / 3, 2 / 3]]), abs=1e-6)


def test_the_naive_prediction_reads_labels_of_training_rows_only(dataset: EntityRows) -> None:
    rows = dataset.splits["test"]
    broken = EntityRows(
        dataset.table.with_columns(pl.when(pl.col("split") == "train").then("label").otherwise(3).alias("label")),
        dataset.contract,
    )
    assert np.array_equal(problem().naive(dataset, rows), problem().naive(broken, rows))
    assert problem().naive(dataset, rows).shape == (30, 4)


def test_an_ensemble_averages_probabilities() -> None:
    outputs = [np.log(np.array([[0.9, 0.1]], dtype=np.float32)), np.log(np.array([[0.5, 0.5]], dtype=np.float32)) + 3]
    assert np.exp(problem().ensemble(iter(outputs))) == pytest.approx(np.array([[0.7, 0.3]]), abs=1e-6)
    assert np.isnan(problem().ensemble([np.full((1, 2), np.nan, dtype=np.float32)])).all()


def test_scoring_uses_the_features_of_training(dataset: EntityRows) -> None:
    seen: list[Inputs] = []

    class Model:
        names = tuple(dataset.contract.inputs)

        def __call__(self, inputs: Inputs) -> Floats:
            seen.append(inputs)
            return np.tile(np.log(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)), (len(inputs["numeric"]), 1))

    result = problem().predict({"events": shop()}, TEST_ORIGIN, dataset.contract, Model())
    for name, values in dataset.inputs(dataset.splits["test"]).items():
        assert np.array_equal(values, seen[0][name])
    assert result.columns == ["customer", "p_none", "p_low", "p_medium", "p_high", "predicted"]
    assert result.height == 30
    assert result.row(0) == ("c00", *(pytest.approx(chance) for chance in (0.1, 0.2, 0.3, 0.4)), "high")


def test_disturbances_touch_what_they_say(dataset: EntityRows) -> None:
    rows, names = dataset.splits["test"], dataset.contract.settings["features"]
    clean = dataset.inputs(rows)
    shifted = problem().corrupt("shift", 0.5, clean, 1)["numeric"]
    amounts = [place for place, name in enumerate(names) if name.startswith(("paid_7", "paid_28", "pieces_"))]
    assert np.allclose(shifted[:, amounts], clean["numeric"][:, amounts] * 1.5)
    rest = [place for place in range(len(names)) if place not in amounts]
    assert np.array_equal(shifted[:, rest], clean["numeric"][:, rest])
    missing = problem().corrupt("missing", 1.0, clean, 1)
    assert not missing["numeric"].any() and not missing["codes"].any()
    unseen = problem().corrupt("unseen", 1.0, clean, 1)
    assert np.array_equal(unseen["numeric"], clean["numeric"]) and not unseen["codes"].any() and clean["codes"].any()
    noisy = problem().corrupt("noise", 0.1, clean, 1)
    assert np.array_equal(noisy["numeric"], problem().corrupt("noise", 0.1, clean, 1)["numeric"])
    assert not np.array_equal(noisy["numeric"], clean["numeric"]) and clean["numeric"].any()
    with pytest.raises(ConfigError, match="unknown kind 'fog'; there are: noise, missing, unseen, shift"):
        problem().corrupt("fog", 0.1, clean, 1)


def test_examples_compare_predicted_with_actual_shares(dataset: EntityRows) -> None:
    rows = dataset.splits["test"]
    perfect = np.where(np.eye(4)[dataset.target(rows)] > 0, 20.0, -20.0).astype(np.float32)
    shown = problem().examples(dataset, rows, {"candidate": perfect}, 3)
    assert len(shown) == 3 and shown[0].title == "all (30 rows)"
    assert shown[0].dates == ("none", "low", "medium", "high")
    assert shown[0].actual[0] == pytest.approx(1 / 3, abs=1e-4)
    assert shown[0].curves["candidate"] == pytest.approx(shown[0].actual, abs=1e-4)


def test_the_table_contract_names_every_configured_column() -> None:
    (contract,) = problem().tables()
    assert [column.name for column in contract.columns] == ["day", "customer", "paid", "pieces", "paid_fresh", "city"]
    assert contract.keys == ("day", "customer")
    assert (contract.target, contract.entity, contract.horizon) == ("paid", ("customer",), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "problem.colour: Extra inputs are not permitted"),
        ({"edges": [10]}, "edges: 4 classes need 2 of them, not 1"),
        ({"edges": [40, 10]}, "edges: expected increasing numbers above 0"),
        ({"edges": None, "quantiles": [0.5, 1.0]}, "quantiles: expected increasing numbers above 0 and below 1"),
        ({"windows": [28]}, "windows: expected at least two"),
        ({"step_days": 5}, "step_days: expected a divisor of horizon_days, 28"),
        ({"amounts": ["paid"]}, "problem.amounts: column 'paid' is named twice"),
        ({"categories": ["label"]}, "problem.categories: the name 'label' is taken"),
        ({"categories": ["recency_days"]}, "problem.categories: the name 'recency_days' is taken"),
        ({"categories": ["paid_7"]}, "problem.categories: the name 'paid_7' is taken"),
        ({"entity": "predicted"}, "problem.entity: the name 'predicted' is taken"),
        ({"amounts": ["active_days"]}, "two features would be called active_days_7"),
        ({"classes": ["none", "low", "low", "high"]}, "problem.classes: one is named twice"),
    ],
)
def test_a_wrong_option_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        problem(**changes)


def test_a_table_without_categories_has_one_input() -> None:
    built = build_rows(shop(), AS_OF, Options.model_validate({**OPTIONS, "categories": []}))
    assert list(built.contract.inputs) == ["numeric"] and list(arrays(built)) == ["numeric"]


def test_classes_are_the_same_in_any_unit() -> None:
    """Sums keep nine digits, whatever their size: those of millionths were rounded to nothing."""
    small = shop().with_columns(pl.col("paid", "paid_fresh") * 1e-6)
    large, less = problem(), problem(edges=[1e-5, 4e-5])
    labels = [
        kind.features({"events": table}, AS_OF).target(np.arange(90))
        for kind, table in ((large, shop()), (less, small))
    ]
    assert len(set(labels[0].tolist())) == 3
    np.testing.assert_array_equal(labels[0], labels[1])
