"""What each column of a table of rows with a label is: the label, a day, an id, or what tells the label."""

import re
from dataclasses import dataclass, field

import polars as pl

from tasks.core.errors import DataError, UsageError
from tasks.proposal.blocks.columns import (
    LABELS,
    USERS,
    called,
    id_column,
    is_days,
    is_named_id,
    plain,
    require_column,
    text_column,
)
from tasks.proposal.blocks.look import Look
from tasks.proposal.blocks.written import with_unit

OUTCOMES = (
    "churn", "churned", "attrition", "exited", "left", "outcome", "converted", "conversion", "bought", "purchased",
    "subscribed", "default", "defaulted", "fraud", "isfraud", "fraudulent", "cancelled", "canceled", "survived",
    "approved", "accepted", "failed", "failure", "returned", "diagnosis", "response", "clicked", "status",
)  # fmt: skip
"""Names of what became of a row, the likeliest first."""
VALUES = ("price", "value", "quality", "amount", "cost", "salary", "income", "revenue")
"""Names of what a row is worth: they are read as labels where no outcome is there."""
TIMES = ("date", "day", "time", "timestamp", "datetime", "created", "createdat", "month", "snapshotdate", "asof")
TRUTH = {"true", "false"}
LEAST_ROWS = 5  # with a value of a category, as its code book asks
KNOWN = 0.5  # of the rows of a text, that must have such a value
MOST_VALUES = 1000


@dataclass
class Inputs:
    """The columns that a row is predicted from, by what they are. `left_out`: column -> why."""

    numbers: list[str] = field(default_factory=list)
    booleans: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def by_role(self) -> dict[str, list[str]]:
        """Return the columns of each role that has any, as `problem` calls it."""
        roles = {
            "numbers": self.numbers, "booleans": self.booleans, "dates": self.dates, "categories": self.categories
        }  # fmt: skip
        return {role: columns for role, columns in roles.items() if columns}


@dataclass(frozen=True)
class Columns:
    """What each column of the file is. `why`: how the target is known."""

    target: str
    why: str
    time: str | None
    id: str | None
    group: str | None
    inputs: Inputs

    @property
    def used(self) -> list[str]:
        """Return the columns that the section names."""
        own = [each for each in (self.target, self.time, self.id, self.group) if each]
        return [*own, *(column for columns in self.inputs.by_role.values() for column in columns)]


def label_of(rows: pl.DataFrame) -> str | None:
    """Return the column that is called like a label, one of outcomes before one of values. None without any."""
    flat = [name for name, dtype in rows.schema.items() if not dtype.is_nested()]
    usable = [name for name in flat if rows[name].drop_nulls().n_unique() > 1]
    by_word = {_word(name): name for name in usable}
    # Beside an x, y is a place or a length.
    labels = [name for name in LABELS if name != "y" or "x" not in map(plain, rows.columns)]
    named = called(rows.select(usable), (*OUTCOMES, *labels, *VALUES))
    return named or next((by_word[word] for word in OUTCOMES if word in by_word), None)


def is_outcome(rows: pl.DataFrame, column: str) -> bool:
    """Return whether a column says what became of a row: by its name, and no measured number."""
    return not rows.schema[column].is_float() and not {plain(column), _word(column)}.isdisjoint(OUTCOMES)


def _word(column: str) -> str:
    """Return a column's name without what makes it a question: `churned` of `has_churned`."""
    return re.sub(r"^(is|has)(?=...)", "", plain(column))


def columns_of(seen: Look, target: str, time: str) -> Columns:
    """Return what each column is. `target`, `time`: as asked for.

    Raises DataError when there is nothing to predict, or to predict it from; UsageError when it must be said.
    """
    target, why = _target(seen, target)
    taken = [target, *([day] if (day := _time(seen, target, time)) else [])]
    key = id_column(seen.rows, taken)
    taken += [key] if key else []
    group = _group(seen.rows, taken)
    inputs = _inputs(seen, [*taken, *([group] if group else [])])
    if not inputs.by_role:
        others = "; ".join(f"{column} {why}" for column, why in inputs.left_out.items()) or "there is no other column"
        raise DataError(f"{seen.path}: there is nothing to predict {target} from: {others}")
    return Columns(target, why, day, key, group, inputs)


def _target(seen: Look, asked: str) -> tuple[str, str]:
    """Return the column to predict and why it is the one."""
    rows = seen.rows
    if asked:
        require_column(rows, "--target", asked)
        if rows[asked].drop_nulls().n_unique() < 2:
            raise DataError(f"{seen.path}: {asked} has fewer than two values; there is nothing to tell apart")
        return asked, "as you said"
    found = label_of(rows)
    if found is None:
        raise UsageError(
            f"{seen.path}: no column is called like a label; say which one is: --target COLUMN, of: "
            f"{', '.join(rows.columns)} (a forecast needs a column of dates)"
        )
    return found, "by its name"


def _time(seen: Look, target: str, asked: str) -> str | None:
    """Return the column with each row's day: the one that is asked for, or called so."""
    if asked:
        require_column(seen.rows, "--time", asked, [target])
    found = asked or called(seen.rows.drop(target), TIMES)
    if found is not None and is_days(seen.rows[found]) and not seen.rows[found].null_count():
        return found
    if asked:
        raise DataError(f"{seen.path}: {asked} is not a whole day in each row, written as YYYY-MM-DD")
    return None


def _group(rows: pl.DataFrame, without: list[str]) -> str | None:
    """Return the column of users who have several rows: these must not be tested on what was learned of them."""
    found = called(rows.drop(without), USERS)
    if found is None or rows[found].null_count() or not (rows.schema[found] == pl.String or is_whole(rows[found])):
        return None
    return found if rows[found].n_unique() < rows.height else None


def _inputs(seen: Look, without: list[str]) -> Inputs:
    found, rows = Inputs(), seen.rows.drop(without)
    text = text_column(rows)
    for name in rows.columns:
        if name in seen.days:
            found.left_out[name] = f"days as {seen.days[name]}; write YYYY-MM-DD"
            continue
        role, why = _role(rows[name].drop_nulls())
        if role is None:
            found.left_out[name] = "texts; see --kind text" if name == text else why
        else:
            getattr(found, role).append(name)
    return found


def _role(values: pl.Series) -> tuple[str | None, str]:
    """Return what known values are, as Inputs calls it; or None, and why they are left out."""
    dtype = values.dtype
    count = 0 if dtype.is_nested() else values.n_unique()
    if count == 1 or not len(values):
        return None, "has one value" if count else "has no value"
    if dtype == pl.Boolean or (dtype == pl.String and is_truth(values)):
        return "booleans", ""
    if dtype.is_numeric():
        unique = is_named_id(values.name) and is_whole(values) and count == len(values)
        return (None, "identifies rows") if unique else ("numbers", "")
    if dtype == pl.String or dtype.is_temporal():
        return _role_of_words(values, count)
    return None, f"{dtype}: neither number nor text"


def _role_of_words(values: pl.Series, count: int) -> tuple[str | None, str]:
    if is_days(values):
        return "dates", ""
    if values.dtype.is_temporal():
        return None, "moments; write days"
    if _is_category(values):
        return "categories", ""
    return None, with_unit(values) or f"{count:,} different texts"


def is_truth(values: pl.Series) -> bool:
    """Return whether texts are true and false alone."""
    return set(values.str.to_lowercase().unique()) <= TRUTH


def _is_category(values: pl.Series) -> bool:
    """Return whether most rows have a value that comes often enough to be learned from."""
    counts = values.alias("value").value_counts()["count"]
    often = counts.filter(counts >= LEAST_ROWS)
    return len(often) <= MOST_VALUES and float(often.sum()) >= KNOWN * len(values)


def is_whole(values: pl.Series) -> bool:
    """Return whether all numbers are whole."""
    return values.dtype.is_integer() or (values.dtype.is_float() and bool((values == values.floor()).all()))
