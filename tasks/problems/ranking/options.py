"""This module defines the `problem` section of a ranking workload."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen, explained

ACTIVITY, AGE = "activity", "item_age"
"""These segments every dataset has."""
AT = 10
"""The primary error is 1 - NDCG at so many items."""


class NewItems(Frozen):
    """NewItems names the columns of the table of items by which an item is like another.

    `words`: columns of texts, alike by the words that both have. `numbers`: column -> the difference at which a
    likeness of 1 has fallen to 0.61; numbers or texts of them. `regularisation`: how little one item's
    likeness tells.
    """

    words: tuple[str, ...] = ()
    numbers: dict[str, float] = Field(default_factory=dict)
    regularisation: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.words and not self.numbers:
            raise ValueError("name columns of the table of items in words or numbers")
        if odd := next((name for name, scale in self.numbers.items() if not scale > 0), None):
            raise ValueError(f"numbers.{odd}: expected a difference above 0")
        return self


class Options(Frozen):
    """Options give the columns of the table of events their meaning; each of its rows is an item that a user had.

    `time` is the day of an event, `order` a number that orders the events of one day, such as a clock's seconds; what
    is equal by both is ordered by a hash of user and item. `rating`: only events with at least `least_rating` count.
    `weight`: how much an event teaches beside others; models, catalogue and baselines know it, no error does.
    `items`: whether there is a table of them, whose column `title` says what an item is called. `users`: columns of a
    table of users, each a segment.

    `history`: the last items of a user that a model reads. `split`: `time` asks for every event of the last `days`
    days, `leave-one-out` for the last event of each user; validation asks for what came just before. A training row is
    an event with at least one before it, the last `rows_per_user` of each user. `repeats`: whether an item that a user
    had may come again; else it is no answer. `least_events`: items with fewer are not in the catalogue.
    `top`: as many items are what a release names. `new_items`: how items of the table of items that nobody had yet are
    scored beside those of the catalogue; None: they are not. Of the last week's events, `max_unknown` is the largest
    share whose item the table of items lacks, `max_new` that of items never seen before, and `max_gain` what one item
    may gain.
    """

    user: str = "user"
    item: str = "item"
    time: str = "time"
    order: str | None = None
    rating: str | None = None
    least_rating: float | None = None
    weight: str | None = None
    items: bool = False
    title: str | None = None
    users: tuple[str, ...] = ()
    new_items: NewItems | None = None
    history: int = Field(default=50, gt=0)
    split: Literal["time", "leave-one-out"] = "time"
    days: int = Field(default=7, gt=0)
    rows_per_user: int = Field(default=20, gt=0)
    repeats: bool = False
    least_events: int = Field(default=1, gt=0)
    top: int = Field(default=100, gt=0)
    max_unknown: float = Field(default=0.01, ge=0, le=1)
    max_new: float = Field(default=0.5, ge=0, le=1)
    max_gain: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.least_rating is not None and self.rating is None:
            raise ValueError("least_rating: name the column in rating")
        if self.title is not None and not self.items:
            raise ValueError("title: it is a column of the table of items; set items: true")
        if self.new_items is not None and not self.items:
            raise ValueError("new_items: their attributes are columns of the table of items; set items: true")
        events = (self.user, self.item, self.time, self.order, self.rating, self.weight)
        names = [name for name in events if name]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"column {twice!r} is named twice; each has one meaning")
        if odd := next((name for name in names if name.startswith("_") or name in ("rank", "score")), None):
            raise ValueError(f"the name {odd!r} is taken; rename the column in the source")
        taken = (self.user, ACTIVITY, AGE)
        if odd := next((name for name in self.users if name in taken or self.users.count(name) > 1), None):
            raise ValueError(f"users: {odd!r} is a key, a segment of its own or named twice; rename or drop the column")
        return self


def parse_options(options: Mapping[str, Any]) -> Options:
    """Return validated options. Raises ConfigError naming the option."""
    with explained("problem"):
        return Options.model_validate(dict(options))
