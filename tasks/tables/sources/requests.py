"""This source makes simulated requests to a shop's customer service: no person wrote them."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from tasks.core.config import Frozen
from tasks.tables.sources.base import Snapshot, parse_options
from tasks.tables.sources.request_phrases import AFTER, ALIKE, BEFORE, DAYS, INTENTS, OTHER, OUT_OF_SCOPE, THINGS
from tasks.tables.table import TableContract

CHANNELS = ("chat", "mail", "form")
TYPOS = {"chat": 0.03, "mail": 0.01, "form": 0.015}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NOTE = "simulated: templates, other words of like meaning and typos; no person wrote these requests"


class Options(Frozen):
    """`per_day` requests come on each of the `days` up to `as_of`; a day's are the same on every night.

    The share `outside` asks what no shop answers. Nobody has labelled those of the last day, nor the share `unread` of
    the others; of the labels the share `mistaken` is another one.
    """

    per_day: int = Field(default=30, gt=0)
    days: int = Field(default=180, gt=0)
    outside: float = Field(default=0.12, ge=0, lt=1)
    unread: float = Field(default=0.25, ge=0, lt=1)
    mistaken: float = Field(default=0.02, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)


class SimulatedRequests:
    """The table has one row per request: `request` (id), `day`, `channel`, `text` and `label`, null if unread."""

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options = parse_options(Options, options, "simulated-requests")
        self.name = contract.name

    def fetch(self, as_of: date) -> Snapshot:
        rows = [
            row
            for back in range(self.options.days - 1, -1, -1)
            for row in self._day(as_of - timedelta(days=back), last=back == 0)
        ]
        columns = ("request", "day", "channel", "text", "label")
        schema = {name: pl.Date if name == "day" else pl.String for name in columns}
        return Snapshot({self.name: pl.DataFrame(rows, schema, orient="row")}, notes=(NOTE,))

    def _day(self, day: date, *, last: bool) -> Iterator[tuple[str, date, str, str, str | None]]:
        options = self.options
        rng = np.random.default_rng([options.seed, day.toordinal()])
        names = tuple(INTENTS)
        shares = 1 / np.arange(3, 3 + len(names))  # some things are asked four times as often as others
        for number in range(options.per_day):
            outside = rng.random() < options.outside
            label = OTHER if outside else names[int(rng.choice(len(names), p=shares / shares.sum()))]
            channel = CHANNELS[int(rng.integers(len(CHANNELS)))]
            text = _written(_one(OUT_OF_SCOPE if outside else INTENTS[label], rng), channel, rng)
            if rng.random() < options.mistaken:
                label = _one(names, rng)
            unread = rng.random() < options.unread or last
            yield f"{day:%Y%m%d}-{number:04d}", day, channel, text, None if unread else label


def _written(phrase: str, channel: str, rng: np.random.Generator) -> str:
    """Return a phrase as somebody might write it."""
    thing, other = (THINGS[place] for place in rng.permutation(len(THINGS))[:2])
    text = phrase.format(thing=thing, other=other, day=_one(DAYS, rng), number=int(rng.integers(10_000, 99_999)))
    words = [_one(ALIKE[word], rng) if word in ALIKE and rng.random() < 0.3 else word for word in text.split()]
    if rng.random() < (0.8 if channel == "mail" else 0.25):
        words.insert(0, _one(BEFORE, rng))
    if rng.random() < (0.7 if channel == "mail" else 0.2):
        words.append(_one(AFTER, rng))
    text = " ".join(words)
    text = text[0].upper() + text[1:] + "." if channel == "mail" else text
    return "".join(_mistyped(letter, TYPOS[channel], rng) for letter in text)


def _mistyped(letter: str, share: float, rng: np.random.Generator) -> str:
    if not letter.isalpha() or rng.random() >= share:
        return letter
    return ("", letter * 2, _one(LETTERS, rng))[int(rng.integers(3))]


def _one(choices: tuple[str, ...] | str, rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
