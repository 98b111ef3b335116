"""The section for a table of events: who had which item when."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple

import polars as pl

from tasks.core.errors import DataError
from tasks.problems.ranking.checks import findings
from tasks.problems.ranking.events import EVENTS
from tasks.problems.ranking.options import Options
from tasks.proposal.blocks.columns import (
    ITEMS,
    USERS,
    called,
    day_column,
    days_of,
    most_days_without,
    require_column,
)
from tasks.proposal.blocks.look import Look
from tasks.proposal.blocks.proposal import SCHEDULED, Proposal, common, require_enough, widened
from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.shape import Shape
from tasks.tables.validation.options import CheckOptions
from tasks.tables.validation.rules import ENTITY_DAYS

DAYS, WEEKS = 7, 8
LEAST_TESTED = 200  # events of the last days; of fewer the last one of each user is asked
AGAIN = 0.1  # share of events with an item that the user had on another day
CLOSED_FORM = 12_000  # items that EASE bears
FOLDS = 4  # a teacher of half the users of a shop knows too little of what goes with what
WIDTH, WIDEST, EACH = 32, 192, 480
"""A student's vectors are as much wider as there are items: by 32 numbers for each 480 of them. A narrow product of two
tables loses what EASE knows of rare items."""
NEAR = 32  # of an item's list: the better student where few buy most items, such as those of a shop
QUANTITIES = ("quantity", "qty", "units", "count", "pieces", "amount")
MOST_BACK = 0.5  # of the rows
SECONDS = (5 * 10**8, 4 * 10**9)  # of 1985 to 2096, by which numbers are told as times
TIMES = (
    "timestamp",
    "time",
    "datetime",
    "date",
    "invoicedate",
    "orderdate",
    "when",
    "ts",
    "createdat",
    "day",
    "moment",
)


class Bought(NamedTuple):
    """What is below `least` in `column` was given back; `back` rows are."""

    column: str
    least: float
    back: int


def of_table(name: str, seen: Look, path: str, time: str = "") -> Proposal:
    """Return the proposal for a table with a user, an item and a time. Raises DataError, UsageError (of `time`)."""
    user, item = called(seen.rows, USERS), called(seen.rows, ITEMS)
    if user is None or item is None:
        missing = "user, such as user_id or customer" if user is None else "item, such as item_id or product"
        raise DataError(f"{seen.path}: no column is called like a {missing}; columns: {', '.join(seen.rows.columns)}")
    when, shape = _time(seen, [user, item], time)
    nulls = {column: seen.texts[column].null_count() for column in (user, item)}
    filled = [column for column, count in nulls.items() if count]
    there = pl.all_horizontal(pl.col(user, item).is_not_null())
    known, read = seen.texts.filter(there), seen.rows.filter(there)
    bought = _bought(read.drop(user, item, when))
    rows = pl.DataFrame({"user": known[user], "item": known[item], "day": _days(read, when, shape)})
    if bought:
        rows, shape["least"] = rows.filter(read[bought.column] >= bought.least), {bought.column: bought.least}
    require_enough(seen, rows.height, "events")
    last = rows["day"].max()
    assert isinstance(last, date)
    repeats = _comes_again(rows) > AGAIN
    if rows.select("user", "item", *(["day"] if repeats else [])).is_duplicated().any():
        shape["distinct"] = True
    shape |= {"filled": filled} if filled else {}
    had = rows.unique(["user", "item", "day"] if repeats else ["user", "item"])
    tested = had.filter(pl.col("day") > last - timedelta(days=DAYS)).height
    first = rows["day"].min()
    assert isinstance(first, date)
    by_time = tested >= LEAST_TESTED and (last - first).days >= 7 * WEEKS
    items = had["item"].n_unique()
    columns = {"user": user, "item": item, **({"order": when} if "seconds" in shape else {"time": when})}
    columns = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    source = seen.source(
        path, when, until_as_of=True, **({"columns": columns} if columns else {}), **({"shape": shape} if shape else {})
    )
    problem = {
        "kind": "ranking",
        **({"order": "order"} if "seconds" in shape else {}),
        **({"repeats": True} if repeats else {}),
        **({"split": "time", "days": DAYS} if by_time else {"split": "leave-one-out"}),
        "history": 50,
        "rows_per_user": 30,
        "top": min(100, max(10, items // 4)),
    }
    of_day = ", which also orders the events of a day" if "seconds" in shape else ""
    people = had["user"].n_unique()
    wider, beware = _widened(rows, last)
    problem |= wider
    checks, sparse = _checks(rows, last)
    beware += sparse
    asked = f"the events of the last {DAYS} days" if by_time else "the last event of each user"
    said = [
        f"user: {user}, {people:,}; item: {item}, {items:,}; {had.height:,} events, {first} to {last}",
        f"time: {when}{of_day} (change: --time)",
        *seen.said(when),
        f"tested: {asked} (problem.split)",
        "an item may come again (problem.repeats)" if repeats else "what a user had is no answer (problem.repeats)",
    ]
    lacking = seen.rows.height - known.height
    said += _left_out(filled, lacking, rows.height - had.height if "distinct" in shape else 0, bought)
    used = (user, item, when, *((bought.column,) if bought else ()))
    if others := [column for column in seen.rows.columns if column not in used]:
        said.append(f"not used: {', '.join(others)}; see problem.rating, problem.weight and a table of items")
    comments = {**SCHEDULED, "source.until_as_of": "the file may hold later days too"}
    return Proposal(_section(name, seen, source, problem, checks, items), (*said, *beware), comments, last)


def _time(seen: Look, without: list[str], asked: str) -> tuple[str, dict[str, Any]]:
    """Return the column of times, and the shape that it needs: moments and seconds order the events of a day, too."""
    rows = seen.rows.drop(without)
    if asked:
        require_column(rows, "--time", asked)
    named = called(rows, TIMES)
    for column in [asked] if asked else dict.fromkeys([*([named] if named else []), *rows.columns]):
        if day_column(rows.select(column), ()) is not None:
            return column, {}
        low, high = (rows[column].min(), rows[column].max()) if rows.schema[column].is_numeric() else (None, None)
        if isinstance(low, int | float) and isinstance(high, int | float):
            if SECONDS[0] <= low <= high <= SECONDS[1]:
                return column, {"seconds": column}
        elif rows[column].dtype == pl.String or rows[column].dtype.is_temporal():
            try:
                Shape(seconds=column).before(rows.select(column), "_day")
            except Unreadable:
                continue
            return column, {"seconds": column}
    what = f"{asked} is" if asked else "no column is"
    raise DataError(f"{seen.path}: {what} a day, a moment in ISO form or the seconds since 1970, which order events")


def _checks(rows: pl.DataFrame, last: date) -> tuple[dict[str, Any], list[str]]:
    """Return limits of the checks that these events pass as they are, and warnings."""
    checks: dict[str, Any] = {"max_volume_ratio": 50}
    beware = []
    if (gap := most_days_without(rows["day"])) > CheckOptions().max_gap_days:
        checks["max_gap_days"] = gap
        beware.append(f"beware: {gap} days in a row have no event: max_gap_days: {gap}")
    if (staying := _staying(rows, last)) < CheckOptions().min_entity_share:
        checks["min_entity_share"] = max(0.01, round(staying / 2, 2))
        stays = f"{staying:.0%} of the users of four weeks come again in the next four"
        beware.append(f"{stays}: min_entity_share: {checks['min_entity_share']}")
    return checks, beware


def _left_out(filled: list[str], missing: int, again: int, bought: Bought | None) -> Iterator[str]:
    """Yield a line for the rows that lack a value, that say the same `again`, and that were given back."""
    if filled:
        yield f"left out: {missing:,} rows without {' or '.join(filled)} (source.shape.filled)"
    if again:
        yield f"left out: {again:,} rows that say the same again (source.shape.distinct)"
    if bought:
        below = f"{bought.back:,} rows of {bought.column} below {bought.least:g}"
        yield f"left out: {below}: given back (source.shape.least)"


def _bought(rows: pl.DataFrame) -> Bought | None:
    """Return what tells purchases from what was given back: a quantity, some of it below 0. None without one."""
    column = called(rows, QUANTITIES)
    if column is None or not rows.schema[column].is_numeric() or rows[column].null_count():
        return None
    values = rows[column]
    back, least = int((values <= 0).sum()), values.filter(values > 0).min()
    if not (values < 0).any() or back > MOST_BACK * len(values) or not isinstance(least, int | float):
        return None
    return Bought(column, least, back)


def _days(rows: pl.DataFrame, when: str, shape: Mapping[str, Any]) -> pl.Series:
    if "seconds" in shape:
        return Shape(seconds=when).before(rows.select(when), "_day")["_day"]
    return days_of(rows, when)


def _widened(rows: pl.DataFrame, last: date) -> tuple[dict[str, float], list[str]]:
    """Return options by which the checks of last week's events pass, and warnings."""
    events = rows.select("user", "item", time="day").lazy()
    return widened(findings({EVENTS: events}, Options(), last))


def _staying(rows: pl.DataFrame, last: date) -> float:
    """Return the share of users of four weeks who are there in the four weeks after these, the last ones."""
    since = last - timedelta(days=ENTITY_DAYS)
    before = rows.filter(pl.col("day") <= since, pl.col("day") > since - timedelta(days=ENTITY_DAYS))["user"].unique()
    now = rows.filter(pl.col("day") > since)["user"].unique()
    return float(before.is_in(now.implode()).mean() or 1.0) if len(before) else 1.0  # type: ignore[arg-type]


def _comes_again(rows: pl.DataFrame) -> float:
    """Return the share of days of a user with an item that they had on an earlier day."""
    daily = rows.unique(["user", "item", "day"])
    return 1 - daily.unique(["user", "item"]).height / daily.height


def _section(
    name: str, seen: Look, source: Mapping[str, Any], problem: Mapping[str, Any], checks: Mapping[str, Any], items: int
) -> dict[str, Any]:
    small = items <= CLOSED_FORM
    taught = {**({"start_from": "ease"} if small else {}), "alpha": 0.2, "soft": {"kind": "top-items", "top": 50}}
    width = min(WIDEST, WIDTH * max(1, items // EACH)) if small else WIDTH
    student: dict[str, Any] = {
        "model": {"kind": "decayed-sum", "width": width},
        "training": {"epochs": 6, "batch_size": 256, "learning_rate": 0.003, "patience": 2},
    }
    closed = {"kind": "ease", "half_life": 5, "regularisation": 100, "nearness": 10}
    ease = {"ease": {"model": closed, "keep": ["weights"]}}
    transformer = {
        "model": {
            "kind": "sequence-transformer", "width": 32, "layers": 1, "heads": 2, "dropout": 0.2, "epochs": 8,
            "batch_size": 64, "learning_rate": 0.005, **({} if small else {"negatives": 1000}),
        }
    }  # fmt: skip
    return {
        **common(f"What comes next in {name}", seen.path.name),
        "folds": FOLDS,
        "source": dict(source),
        "problem": dict(problem),
        "checks": dict(checks),
        "teachers": {**(ease if small else {}), "transformer": transformer},
        "students": {
            "student": {**student, **taught},
            **({"lists": {**student, "model": {"kind": "neighbours", "near": NEAR}, **taught}} if small else {}),
            "twin": {**student, "training": {**student["training"], "epochs": 20, "patience": 4}, "alpha": 1.0},
        },
        "prefer": "accuracy",
        "recipes": {"int8-weights": {"steps": [{"kind": "int8-weights"}]}},
        "gates": {
            "accuracy": {
                "limit": 0.999, "naive_margin": 0.0, "retention": 1.03, "champion_margin": 0.02, "max_gain": 0.6
            },
            "segments": {"by": ["activity", "item_age"], "limit": 0.1, "min_rows": 100},
            "size": {"max_bytes": 2 ** max(17, ((2 * width + 16) * items).bit_length())},
            "latency": {"batch": 1, "threads": 1, "max_p50_ratio": 100, "max_p95_ratio": 150},
            "parity": {"tolerance": 0.05, "overlap": 0.9},
            "robustness": [
                {"kind": "noise", "level": 0.1, "limit": 1.05},
                {"kind": "shorten", "level": 0.5, "limit": 1.05},
                {"kind": "shuffle", "level": 0.1, "limit": 1.05},
            ],
        },
    }  # fmt: skip
