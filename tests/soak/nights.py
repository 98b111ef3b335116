"""The calendar of trouble: what happens in each simulated night, and how it must end."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from tests.soak.world import Spoil, World, outage

Trouble = Callable[[World, date], AbstractContextManager[None]]
OUTAGE_SECONDS = 20
OTHER = "beside"


@contextmanager
def _nothing(world: World, as_of: date) -> Any:
    yield


@dataclass(frozen=True)
class Planned:
    """`expected`: the outcome. `trouble`: what surrounds the night.

    `again`: with the former night's data. `beside`: a second run goes on beside it, and both outcomes count; `or_else`:
    what chance may make of those.
    """

    name: str
    expected: str
    trouble: Trouble = _nothing
    again: bool = False
    beside: bool = False
    or_else: str | None = None

    @property
    def good(self) -> bool:
        """Whether it must release something."""
        return "promoted" in self.expected

    def right(self, actual: str) -> bool:
        """Whether it ended as planned."""
        return actual in (self.expected, self.or_else)


def data(spoil: Spoil) -> Trouble:
    """The source's table is spoiled for one night."""

    @contextmanager
    def trouble(world: World, as_of: date) -> Any:
        world.table(spoil)
        try:
            yield
        finally:
            world.table()

    return trouble


def parameters(change: Callable[[dict[str, Any]], None]) -> Trouble:
    """The workload's section is another one for one night."""

    @contextmanager
    def trouble(world: World, as_of: date) -> Any:
        before = (world.project.root / "params.yaml").read_text()
        kept = copy.deepcopy(world.project.params)
        change(world.project.sales)
        world.project.save()
        try:
            yield
        finally:
            world.project.params = kept
            (world.project.root / "params.yaml").write_text(before)

    return trouble


def beside(stage: str, act: Callable[[World], None]) -> Trouble:
    """Something happens once a stage is at work."""

    @contextmanager
    def trouble(world: World, as_of: date) -> Any:
        thread = world.once_at(stage, lambda: act(world))
        yield
        thread.join(5)
        assert not thread.is_alive(), f"{stage} never ran, so nothing happened beside it"

    return trouble


def first(*commands: tuple[str, ...]) -> Trouble:
    """An operator's commands before the night."""

    @contextmanager
    def trouble(world: World, as_of: date) -> Any:
        for command in commands:
            world.operate(*command)
        yield

    return trouble


@contextmanager
def overlapping(world: World, as_of: date) -> Any:
    """A second run of the same night, outside Airflow."""
    runs = []
    thread = world.once_at("snapshot", lambda: runs.append(world.beside(as_of, f"{OTHER}-{as_of}")))
    yield
    thread.join(5)
    (run,) = runs
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output


def negative(table: pl.DataFrame) -> pl.DataFrame:
    """A sign error upstream."""
    return table.with_columns(units=-pl.col("units"))


def twice(table: pl.DataFrame) -> pl.DataFrame:
    """A load that ran twice for one series."""
    return pl.concat([table, table.filter(pl.col("series_id") == "s0-d0")]).sort("series_id", "date")


def without_a_column(table: pl.DataFrame) -> pl.DataFrame:
    """A column got lost upstream."""
    return table.drop("price")


def leaking(table: pl.DataFrame) -> pl.DataFrame:
    """A column that is known ahead holds tomorrow's sales."""
    share = pl.col("units") / pl.col("units").mean().over("series_id") / 4
    return table.with_columns(promo_mailer=share.clip(0.0, 1.0).fill_null(0.0))


def shifted(table: pl.DataFrame) -> pl.DataFrame:
    """Two departments sell twice as much and more; less in all than what validation takes for another unit."""
    large = pl.col("department").is_in(["d0", "d1"])
    return table.with_columns(units=pl.when(large).then(2 * pl.col("units") + 40).otherwise(pl.col("units")))


def stale(days: int) -> Spoil:
    """The newest days are missing."""

    def spoil(table: pl.DataFrame) -> pl.DataFrame:
        known = table.filter(pl.col("units").is_not_null())["date"].max()
        assert isinstance(known, date)
        return table.filter(pl.col("date") <= pl.lit(known) - pl.duration(days=days))

    return spoil


def broken_teacher(section: dict[str, Any]) -> None:
    """A teacher that learns nothing but noise."""
    section["teachers"]["lstm"]["training"] |= {"learning_rate": 30.0}


def untrained(section: dict[str, Any]) -> None:
    """Students that learn nothing."""
    for student in section["students"].values():
        student["training"] |= {"epochs": 1, "batches_per_epoch": 1, "learning_rate": 1e-9}


def cut_s3(world: World) -> None:
    """The object store is away for a while."""
    outage(world.s3, OUTAGE_SECONDS)


def cut_mlflow(world: World) -> None:
    """The tracking server is away for a while."""
    outage(world.mlflow, OUTAGE_SECONDS)


ROLLBACK = ("release", "rollback", "sales", "--reason", "soak: a customer complained")
GOOD = "promoted"

FIRST = Planned("the first night", GOOD)
PLAIN = Planned("an ordinary night", GOOD)
BAD_DATA = Planned("bad data: negative units", "stopped at validate", data(negative))
LEAK = Planned("a column leaks tomorrow's sales", "rejected", data(leaking))
KILLED = Planned("a stage is killed in training", GOOD, beside("teach@lstm", lambda world: world.kill("teach@lstm")))
OVERLAP = Planned(
    "two runs at once",
    "promoted + superseded",
    overlapping,
    beside=True,
    or_else="promoted + reused",  # the slower one comes to promote when the other's is there to be reused
)
BACK = Planned("a rollback, then a night", GOOD, first(ROLLBACK))
OUTAGE = Planned("object store away for 20 s", GOOD, beside("distil@student", cut_s3))

SHORT = (FIRST, BAD_DATA, LEAK, KILLED, OVERLAP, BACK)
"""Six nights for every change of the code."""

LONG = (
    FIRST,
    PLAIN,
    BAD_DATA,
    PLAIN,
    KILLED,
    Planned("the same data again", "unchanged", again=True),
    Planned("a broken teacher: the twin is released", GOOD, parameters(broken_teacher)),
    OUTAGE,
    LEAK,
    PLAIN,
    OVERLAP,
    BACK,
    Planned("tracking server away for 20 s", GOOD, beside("report", cut_mlflow)),
    PLAIN,
    Planned("drift: two departments sell much more", "rejected", data(shifted)),
    PLAIN,
    Planned("pinned by an operator", "held", first(("release", "pin", "sales", "--reason", "soak: holidays"))),
    Planned("unpinned", GOOD, first(("release", "unpin", "sales", "--reason", "soak: over"))),
    Planned("stale data: three days missing", "stopped at validate", data(stale(40))),
    PLAIN,
    Planned("promote is killed", GOOD, beside("promote", lambda world: world.kill("promote"))),
    Planned("a series was loaded twice", "stopped at validate", data(twice)),
    PLAIN,
    Planned("students that learned nothing", "rejected", parameters(untrained)),
    PLAIN,
    Planned("object store away while promoting", GOOD, beside("promote", cut_s3)),
    Planned("a column got lost", "stopped at validate", data(without_a_column)),
    PLAIN,
    BACK,
    PLAIN,
)
"""Thirty nights."""
