"""Columns that change beside the target: what models see of each, and what is refused."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.problems import get_problem
from tasks.problems.base import Floats, Inputs, Problem, Raw
from tasks.problems.contracts import contract_from_json, contract_to_json
from tasks.problems.forecasting.dataset import Windows
from tasks.problems.forecasting.panel import build_panel
from tasks.problems.forecasting.windows import carried
from tasks.tables.validation.guard import Guard
from tasks.tables.validation.options import CheckOptions
from tasks.tables.validation.rules import table_facts, usable
from tests.weather import AHEAD, AS_OF, CHECKS, FIRST, PROBLEM, weather_table

NAN = float("nan")
SMALL: dict[str, Any] = {
    "horizon": 2, "context": 4, "season": 2, "min_history": 4, "origin_step": 2, "test_origins": 1, "valid_origins": 1,
    "static": [], "numbers": ["area"],
    "covariates": {
        "cold": {"known": "past", "transform": "standard"},
        "crowd": {"known": "past", "missing": True},
        "price": {"known": "ahead", "transform": "log-ratio", "missing": True},
        "share": {"known": "ahead"},
        "warm": {"known": "ahead", "transform": "standard", "missing": True},
    },
    "categories": {"kind": {"known": "ahead"}, "sky": {"known": "past", "missing": True}},
}  # fmt: skip
LAST = date(2026, 1, 16)
NONE: list[Any] = [None] * 18


def problem(**changes: Any) -> Problem:
    return get_problem(Spec(kind="forecasting", **{**SMALL, **changes}))


def table(**changes: list[Any]) -> pl.LazyFrame:
    """Sixteen known days and two ahead: the last window's context is 13 to 16 January, its horizon 17 and 18."""
    days = [date(2026, 1, 1) + timedelta(days=day) for day in range(18)]
    columns: dict[str, list[Any]] = {
        "units": [1.0] * 16 + [None, None],
        "area": [50.0] * 18,
        "cold": [-3.5] * 15 + [4.5, None, None],
        "crowd": [3.0] * 18,
        "price": [2.0] * 15 + [4.0, 8.0, 4.0],
        "share": [0.0] * 14 + [0.25, 0.5, 0.75, 1.0],
        "warm": [10.0] * 18,
        "kind": ["a", "b"] * 9,
        "sky": ["rain"] * 16 + [None, None],
        **changes,
    }
    return pl.LazyFrame({"date": days, "series_id": ["s"] * 18, **columns}, strict=False)


class Recording:
    """Keeps what it was given."""

    names = ("units", "observed", "future", "static", "past", "calendar")
    seen: Inputs

    def __call__(self, inputs: Inputs) -> Floats:
        self.seen = inputs
        return np.ones((len(inputs["units"]), inputs["future"].shape[1], 4), np.float32)


def last_window(rows: pl.LazyFrame, **changes: Any) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Feature -> values of the steps of the window that is scored, past and future."""
    made, model = problem(**changes), Recording()
    contract = made.features({"series": rows}, LAST).contract
    made.predict({"series": rows}, LAST, contract, model)
    settings = contract.settings
    past = [*settings["future_features"], *settings["past_features"], *settings["calendar_features"]]
    return named(model.seen["past"][0], past), named(model.seen["future"][0], settings["future_features"])


def named(steps: Floats, features: list[str]) -> dict[str, list[float]]:
    assert len(features) == steps.shape[1]
    return {feature: [round(float(value), 4) for value in steps[:, place]] for place, feature in enumerate(features)}


def test_each_transform_has_its_hand_made_values() -> None:
    past, future = last_window(table())
    assert list(future) == [
        "price_change", "price_missing", "share", "warm", "warm_missing", "kind=a", "kind=b", "area", "holiday",
        "holiday_ahead",
    ]  # fmt: skip
    assert list(past)[10:-9] == ["cold", "crowd", "crowd_missing", "sky=rain"]
    assert past["price_change"] == [-0.6931, -0.6931, -0.6931, 0] and future["price_change"] == [0.6931, 0]
    assert past["share"] == [0, 0, 0.25, 0.5] and future["share"] == [0.75, 1]
    assert past["cold"] == [-3.5, -3.5, -3.5, 4.5], "as it is: the model normalises it"
    assert past["kind=a"] == [1, 0, 1, 0] and future["kind=b"] == [0, 1]
    assert past["sky=rain"] == [1] * 4 and past["area"] == [50] * 4 and future["area"] == [50] * 2
    assert past["crowd_missing"] == [0] * 4 == past["price_missing"]


def test_a_missing_value_is_the_last_one_and_its_companion_says_so() -> None:
    some = table(
        crowd=[9.0] * 12 + [None, 5.0, None, 7.0, None, None],
        price=[2.0] * 13 + [None, None, 4.0, None, 8.0],
        warm=[1.0] * 10 + [None] * 4 + [30.0, None, None, 20.0],
        sky=["rain"] * 14 + [None, "fog", None, None],
    )
    past, future = last_window(some)
    # No value in the window before it: the mean of training, whatever the day before the window had.
    assert past["crowd"] == [9.0, 5, 5, 7] and past["crowd_missing"] == [1, 0, 1, 0]
    assert past["price_change"] == [-0.6931] * 3 + [0] and past["price_missing"] == [0, 1, 1, 0]
    assert future["price_change"] == [0, 0.6931] and future["price_missing"] == [1, 0]
    assert past["warm"] == [1.0, 1, 30, 30] and past["warm_missing"] == [1, 1, 0, 1]
    assert future["warm"] == [30, 20] and future["warm_missing"] == [1, 0]
    assert past["sky=rain"] == [1, 1, 0, 0] and "sky=fog" not in past, "training did not see it"


def test_values_that_are_all_missing_are_finite() -> None:
    past, future = last_window(table(**dict.fromkeys(("crowd", "price", "warm", "sky"), NONE)))
    assert past["crowd"] == past["warm"] == past["price_change"] == [0] * 4
    assert past["crowd_missing"] == past["price_missing"] == [1] * 4 and future["warm_missing"] == [1, 1]
    assert not [name for name in past if name.startswith("sky")]


def test_a_day_without_a_row_has_the_last_value_of_a_temperature_and_no_share() -> None:
    gap = table(share=[0.5] * 18).filter(pl.col("date") != date(2026, 1, 16)).with_columns(cold=pl.lit(-3.5))
    past, _ = last_window(gap.filter(pl.col("date") != date(2026, 1, 15)))
    assert past["cold"] == [-3.5] * 4 and past["share"] == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize(
    ("values", "start", "expected"),
    [
        ([NAN, 1, NAN, 3, NAN], 7, [7, 1, 1, 3, 3]),
        ([NAN, 1, NAN, 3, NAN], None, [1, 1, 1, 3, 3]),
        ([NAN, NAN], None, [0, 0]),
        ([NAN, NAN], 2.5, [2.5, 2.5]),
        ([1, 2], 7, [1, 2]),
    ],
)
def test_gaps_are_carried_over(values: list[float], start: float | None, expected: list[float]) -> None:
    assert carried(np.array([values], np.float32), start).tolist() == [expected]


def test_statistics_are_those_of_training_alone() -> None:
    # Targets of training end on 12 January.
    changed = table(
        cold=[-4.0, -2.0] * 6 + [99.0] * 4 + [None, None],
        warm=[10.0, 20.0] * 6 + [NAN] * 6,
        kind=["a", "b"] * 6 + ["c"] * 6,
    ).with_columns(pl.col("warm").fill_nan(None))
    statistics = problem().features({"series": changed}, LAST).contract.statistics
    assert statistics == {
        "mean_units": 1,
        "means": {"cold": -3, "crowd": 3, "warm": 15, "area": 50},
        "deviations": {"cold": 1, "warm": 5, "area": 1},
        "values": {"kind": ["a", "b"], "sky": ["rain"]},
    }
    _, future = last_window(changed)
    assert future["kind=a"] == future["kind=b"] == [0, 0]


def test_too_many_values_of_a_category_are_refused() -> None:
    shops = pl.concat([table(kind=[f"k{shop}"] * 18).with_columns(series_id=pl.lit(f"s{shop}")) for shop in range(60)])
    with pytest.raises(DataError, match="table: kind has 60 values, of which 50 at most can be features; group them"):
        problem().features({"series": shops}, LAST)


@pytest.fixture(scope="module")
def weather() -> Windows:
    made = get_problem(Spec(**PROBLEM)).features({"series": weather_table().lazy()}, AS_OF)
    assert isinstance(made, Windows)
    return made


def spoilt(rows: pl.DataFrame, origin: date) -> pl.DataFrame:
    """Other values after the origin of what is known up to it alone, and of the others beyond its horizon."""
    after, beyond = pl.col("date") > origin, pl.col("date") > origin + timedelta(days=AHEAD)
    changes = {"units": 7.0, "temperature": 40.0, "visitors": 1.0, "sky": "snow"}, {"offer": 5.0, "price": 9.0}
    return rows.with_columns(
        *[pl.when(after).then(pl.lit(value)).otherwise(name).alias(name) for name, value in changes[0].items()],
        *[pl.when(beyond).then(pl.lit(value)).otherwise(name).alias(name) for name, value in changes[1].items()],
        pl.when(beyond).then(pl.lit("school")).otherwise("day_type").alias("day_type"),
    )


def test_nothing_after_an_origin_changes_its_inputs(weather: Windows) -> None:
    rows = weather.splits["test"]
    origin = weather.panel.time(int(weather.origins[rows[0]])).date()
    other = get_problem(Spec(**PROBLEM)).features({"series": spoilt(weather_table(), origin).lazy()}, AS_OF)
    before, after = weather.inputs(rows), other.inputs(rows)
    assert not np.array_equal(weather.target(rows), other.target(rows)), "the table was not spoilt"
    for name, values in before.items():
        assert np.array_equal(values, after[name]), name


def test_scoring_sees_what_training_saw(weather: Windows) -> None:
    rows = weather.splits["test"]
    origin = weather.panel.time(int(weather.origins[rows[0]])).date()
    contract = contract_from_json(contract_to_json(weather.contract))
    then = weather_table().filter(pl.col("date") <= origin + timedelta(days=AHEAD)).with_columns(
        pl.when(pl.col("date") <= origin).then(name).alias(name) for name in ("units", "temperature", "visitors", "sky")
    )  # fmt: skip
    model = Recording()
    get_problem(Spec(**PROBLEM)).predict({"series": then.lazy()}, origin, contract, model)
    for name, values in weather.inputs(rows).items():
        assert np.array_equal(values, model.seen[name]), name


def test_the_short_forms_mean_the_same_covariates(sales: Any) -> None:
    share = {"known": "ahead", "low": 0, "high": 1}
    price = {"known": "ahead", "transform": "log-ratio", "low": 0}
    changes = {"covariates": {"promo_mailer": share, "promo_display": share, "price": price}}
    made = sales.problem(**changes).features({"series": sales.table()}, sales.as_of)
    rows = np.arange(len(made.lines))
    for name, values in sales.dataset.inputs(rows).items():
        assert np.array_equal(values, made.inputs(rows)[name]), name
    assert sales.problem(**changes).tables() == sales.problem().tables()
    for one, other in ((made, sales.dataset), (sales.dataset, made)):
        under = one.under(other.contract)  # without the raw table
        assert np.array_equal(under.inputs(rows)["past"], one.inputs(rows)["past"])


def test_a_release_of_before_is_read_as_it_was(sales: Any) -> None:
    """Its contract knows no covariates, its price has another name, its promotions another order."""
    changes = {"price": "cost", "promotions": ["promo_mailer", "promo_display"]}
    rows = sales.table().rename({"price": "cost"})
    made = sales.problem(**changes).features({"series": rows}, sales.as_of)
    data = contract_to_json(made.contract)
    options = {name: value for name, value in data["settings"]["options"].items() if name not in NEW}
    settings = {name: value for name, value in data["settings"].items() if name != "past_features"}
    before = contract_from_json({**data, "settings": {**settings, "options": options}})
    assert before.settings["future_features"][:3] == ["price_change", "promo_mailer", "promo_display"]
    every = np.arange(len(made.lines))
    under = made.under(before)
    for name, values in made.inputs(every).items():
        assert np.array_equal(values, under.inputs(every)[name]), name


NEW = ("numbers", "covariates", "categories")
AHEAD_OF = {"known": "ahead"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"covariates": {"cold": {"known": "maybe"}}}, "problem.covariates.cold.known: Input should be 'past' or"),
        ({"covariates": {"cold": {}}}, "problem.covariates.cold.known: Field required"),
        ({"covariates": {"cold": {**AHEAD_OF, "transform": "log"}}}, "covariates.cold.transform: Input should be"),
        ({"covariates": {"cold": {**AHEAD_OF, "colour": 1}}}, "covariates.cold.colour: Extra inputs are not permitted"),
        ({"covariates": {"cold": {**AHEAD_OF, "low": 3, "high": 2}}}, "covariates.cold: high: expected 3 or more"),
        (
            {"covariates": {"cold": {**AHEAD_OF, "transform": "log-ratio", "low": -1}}},
            "covariates.cold: low: a log-ratio is of values above zero; expected 0 or more, got -1",
        ),
        ({"covariates": {"units": AHEAD_OF}}, "covariates: units is the target; name another column, or rename it"),
        ({"covariates": {"series_id": AHEAD_OF}}, "covariates: series_id is a key; name another"),
        ({"categories": {"holiday": AHEAD_OF}}, "categories: holiday is a column of its own"),
        ({"static": ["cold"]}, "covariates: cold is named in static already; name a column once"),
        ({"static": [], "numbers": ["area", "area"]}, "numbers: area is named in numbers already"),
        ({"categories": {"cold": AHEAD_OF}}, "categories: cold is named in covariates already"),
        ({"price": "price"}, "covariates: price is named in price already"),
        (
            {"covariates": {"a": {**AHEAD_OF, "missing": True}, "a_missing": AHEAD_OF}},
            "covariates: two features would be named a_missing; rename a column",
        ),
        ({"categories": {"sky": {"known": "later"}}}, "problem.categories.sky.known: Input should be 'past' or"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        problem(**changes)


def require_weather(rows: pl.DataFrame) -> None:
    (contract,) = get_problem(Spec(**PROBLEM)).tables()
    Guard(contract, CheckOptions(**CHECKS)).require(rows)


def failed(rows: pl.DataFrame) -> list[str]:
    """What the nightly checks say of whole columns."""
    (contract,) = get_problem(Spec(**PROBLEM)).tables()
    facts = table_facts(rows, usable(rows, contract), contract, CheckOptions(**CHECKS), AS_OF, {}, None)
    return [f"{fact.column}: {fact.rule}: {fact.value}" for fact in facts if fact.count]


def test_any_range_passes_the_checks() -> None:
    rows = weather_table()
    assert rows["temperature"].min() < -3.5 and rows["price"].min() > 0  # type: ignore[operator]
    require_weather(rows)
    assert failed(rows) == []


SHOWN = "row 3: date=2026-01-04, series_id=shop0"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("temperature", -40.5, f"temperature: >= -40: broken by 1 rows, e.g. {SHOWN}, temperature=-40.5"),
        ("temperature", 51.0, f"temperature: <= 50: broken by 1 rows, e.g. {SHOWN}"),
        ("price", -2.0, f"price: > 0: broken by 1 rows, e.g. {SHOWN}, price=-2.0"),
        ("price", 0.0, f"price: > 0: broken by 1 rows, e.g. {SHOWN}, price=0.0"),
        ("price", None, f"price: not null: broken by 1 rows, e.g. {SHOWN}, price=None"),
        ("floor_area", None, f"floor_area: not null: broken by 1 rows, e.g. {SHOWN}"),
        ("offer", NAN, "offer: no NaN or infinity"),
    ],
)
def test_a_value_out_of_range_is_refused_by_column_and_row(column: str, value: float | None, message: str) -> None:
    where = (pl.col("date") == date(2026, 1, 4)) & (pl.col("series_id") == "shop0")
    rows = weather_table().with_columns(pl.when(where).then(value).otherwise(column).alias(column))
    with pytest.raises(DataError, match=message):
        require_weather(rows)


def test_a_covariate_of_the_past_has_a_value_in_each_row_up_to_as_of() -> None:
    where = (pl.col("date") == date(2026, 5, 4)) & (pl.col("series_id") == "shop0")
    rows = weather_table().with_columns(
        pl.when(~where).then(name).alias(name) for name in ("temperature", "sky", "visitors")
    )
    require_weather(rows)
    assert failed(rows) == [f"{name}: not null up to as_of 2026-05-31: 1" for name in ("temperature", "sky")]
    message = "table: temperature has no value in the row shop0, 2026-05-04; deliver it, or set missing: true for"
    with pytest.raises(DataError, match=message):
        get_problem(Spec(**PROBLEM)).features({"series": rows.lazy()}, AS_OF)


def test_a_champion_that_knew_no_gaps_is_compared_on_rows_that_have_them(weather: Windows) -> None:
    options = {**PROBLEM, "covariates": {**PROBLEM["covariates"], "offer": {"known": "ahead"}}}
    then = get_problem(Spec(**options)).features({"series": weather_table().fill_null(0).lazy()}, AS_OF)
    under = weather.under(then.contract, Raw({"series": weather_table().lazy()}, AS_OF))
    rows = weather.splits["test"]
    gaps = weather.inputs(rows)["future"][:, :, 1] > 0
    found = under.inputs(rows)["future"]
    assert gaps.any() and (found[:, :, 0][gaps] == 0).all() and np.isfinite(found).all()
    assert (found[:, :, 0][~gaps] == weather.inputs(rows)["future"][:, :, 0][~gaps]).all()


@pytest.mark.parametrize("shown", [0, 3, AHEAD])
def test_what_is_known_ahead_is_there_for_the_horizon(shown: int) -> None:
    rows = weather_table().filter(pl.col("date") <= AS_OF + timedelta(days=shown))
    made = get_problem(Spec(**PROBLEM))
    if shown == AHEAD:
        assert failed(rows) == []
        assert made.features({"series": rows.lazy()}, AS_OF)
        return
    assert failed(rows) == [f"price: days after as_of 2026-05-31 up to the last value: {shown}"]
    first = AS_OF + timedelta(days=shown + 1)
    with pytest.raises(DataError, match=f"table: price is known ahead, but no row has it on {first}, within 7 steps"):
        made.features({"series": rows.lazy()}, AS_OF)


def test_a_series_that_ended_needs_no_rows_ahead() -> None:
    ended = (pl.col("series_id") == "shop0") & (pl.col("date") > date(2026, 5, 20))
    panel = build_panel(weather_table().filter(~ended).lazy(), AS_OF, get_problem(Spec(**PROBLEM)).options)  # type: ignore[attr-defined]
    assert panel.names.tolist() == [f"shop{number}" for number in range(5)] and panel.time(21).date() == FIRST
