"""What was found out about a table: its columns, its history, and the lengths that these have room for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import polars as pl

from tasks.core.errors import DataError
from tasks.problems.forecasting.covariates import KEPT
from tasks.proposal.blocks.look import Look
from tasks.proposal.forecasting.lengths import Plan, plan_lengths
from tasks.proposal.forecasting.parts import Parted, with_moment
from tasks.proposal.forecasting.roles import NUMBER, Roles, find_roles
from tasks.proposal.forecasting.time import Time, find_time

QUANTILES = (0.1, 0.5, 0.9)
OFTEN, HALF = 0.02, 0.5  # of all targets


@dataclass(frozen=True)
class Asked:
    """What the user says instead of having it guessed; empty and None: nothing."""

    time: str = ""
    target: str = ""
    series: Sequence[str] | None = None
    horizon: int | None = None
    season: int | None = None


@dataclass(frozen=True)
class Seen:
    """`known`: rows with a target, and the step's number as NUMBER. `ours`: the file's columns -> the contract's.

    `as_of`: the last day with data; `steps`: from the first one to it. `series`: how many there are. `repeated`: rows
    beyond the first of a series and a step; `lost`: rows up to the last step with a target that have none.
    """

    look: Look
    time: Time
    roles: Roles
    known: pl.DataFrame
    plan: Plan
    ours: Mapping[str, str]
    as_of: date
    steps: int
    series: int
    repeated: int = 0
    lost: int = 0

    @cached_property
    def observed(self) -> bool:
        """Whether rows without a target are gaps, and none of what is known ahead goes with them."""
        return self.lost > 0 and max(self.roles.reach.values(), default=0) <= 0

    @cached_property
    def last(self) -> int:
        """The last step with a target."""
        return _last(self.known)

    @cached_property
    def least(self) -> float:
        """The smallest target."""
        least = self.known[self.roles.target].min()
        return float(least) if isinstance(least, int | float) else 0.0

    @cached_property
    def often_zero(self) -> bool:
        """Whether zeros are usual, none being below: then zero is a series' foot, and else a gap is like its mean."""
        zeros = (self.known[self.roles.target] == 0).mean()
        return self.least >= 0 and isinstance(zeros, float) and zeros > OFTEN

    @cached_property
    def mostly_zero(self) -> bool:
        """Whether more than half of the targets are zero, none being below: their median tells nothing."""
        zeros = (self.known[self.roles.target] == 0).mean()
        return self.least >= 0 and isinstance(zeros, float) and zeros > HALF

    @property
    def times(self) -> tuple[str, ...]:
        """The file's columns that say the time."""
        return self.look.moment if isinstance(self.look, Parted) else (self.time.column,)

    def is_ahead(self, column: str) -> bool:
        """Whether a column that changes over time is known over the whole horizon."""
        return self.roles.reach[column] >= self.plan.lengths.horizon


def see(found: Look, asked: Asked = Asked()) -> Seen:
    """Everything that is guessed. Raises DataError when the file is no table of a forecasting problem, or too short.

    Raises UsageError when it must be said which columns are meant.
    """
    found = found if asked.time else with_moment(found)
    try:
        time = find_time(found.rows, asked.time)
        rows = found.rows.with_columns(time.number.alias(NUMBER)).drop_nulls(NUMBER)
        roles = find_roles(rows, time, asked.target, asked.series)
        single = rows.unique([NUMBER, *roles.series], keep="first", maintain_order=True)
        known = single.filter(pl.col(roles.target).is_not_null())
        as_of = time.as_of(_last(known))
        steps = max(0, time.axis.last(as_of) + 1)
        series = known.select(roles.series).n_unique() if roles.series else 1
        reach = min((reach for reach in roles.reach.values() if reach > 0), default=0)
        plan = plan_lengths(time.step, steps, series, (asked.horizon, asked.season), reach)
    except DataError as error:
        raise DataError(f"{found.path}: {error}") from None
    lost = single.filter(pl.col(NUMBER) <= _last(known)).height - known.height
    repeated = rows.height - single.height
    return Seen(found, time, roles, known, plan, _names(time, roles), as_of, steps, series, repeated, lost)


def _names(time: Time, roles: Roles) -> dict[str, str]:
    """The file's names of columns that are used -> the contract's."""
    ours = {time.column: "date", roles.target: "units"}
    taken = {*KEPT, *(f"p{level * 100:g}" for level in QUANTILES), "mean"}
    for column in (*roles.series, *roles.static, *roles.numbers, *roles.covariates, *roles.categories):
        if column not in ours:
            name = column
            if not re.fullmatch(r"\w+", name):
                name = re.sub(r"\W+", "_", name).strip("_").lower() or "column"
            while name in taken:
                name += "_column"
            taken.add(name)
            ours[column] = name
    return ours


def _last(known: pl.DataFrame) -> int:
    last = known[NUMBER].max()
    assert isinstance(last, int)
    return last
