"""A dataset of histories keeps the events themselves, so that it can be read under another release's catalogue."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.contract import Codebook
from tasks.core.files import read_json, write_json
from tasks.problems.base import Dataset, FeatureContract, Floats, Inputs, Raw, Rows
from tasks.problems.blocks.splits import SPLITS, with_validation
from tasks.problems.contracts import contract_from_json, contract_to_json, differing_options
from tasks.problems.ranking.closed_form import Codes, Matrix, item_knn, together
from tasks.problems.ranking.events import (
    DAY,
    EVENTS,
    ITEM,
    ITEMS,
    LEARNED,
    OF,
    SPLIT,
    USER,
    WEIGHT,
    catalogue,
    dealt,
    in_order,
    numbered_items,
    with_attributes,
)
from tasks.problems.ranking.options import ACTIVITY, AGE, Options, parse_options
from tasks.tables.table import Tables

HISTORY = "history"
"""The model's input is called so: codes of items, the last one at the end, 0 before the first."""
ATTRIBUTES = "attributes.parquet"
TITLES = "items.json"
"""A release has this file: what its items are called, by their ids."""
NEW_DAYS = 28
SAME = ("split", "days", "repeats", "rating", "least_rating", "order")
"""These options define the rows; an earlier release's must be equal, to be compared with."""
FREE = ("history", "least_events", "rows_per_user")


def activity_of(events: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the segment of users who had so many events before."""
    return np.array(["under 10 items", "10 to 49 items", "50 items or more"])[
        np.searchsorted([10, 50], events, side="right")
    ]


class Histories(Dataset):
    """Histories has a row for each event that is asked: the user's history before it, and the item that came.

    `events`: all events in order, with SPLIT and LEARNED. An item that the contract's catalogue lacks is in no history,
    and a row that asks for it has no right answer. `titles`: what items are called, by their id. `attributes`: ITEM
    and the columns by which new items are scored; None: they are not.
    """

    def __init__(
        self,
        events: pl.DataFrame,
        contract: FeatureContract,
        titles: Mapping[str, str] | None = None,
        attributes: pl.DataFrame | None = None,
    ) -> None:
        self.events, self.contract, self.titles, self.attributes = events, contract, titles or {}, attributes
        self.options = parse_options(contract.settings["options"])
        self.codes = codes_of(events[ITEM], contract)
        self.users = events[USER].rank("dense").to_numpy().astype(np.int64) - 1
        self.days = events[DAY].to_physical().to_numpy().astype(np.int64)
        self.learned = events[LEARNED].to_numpy()
        self.weight = self._weight()
        self._first = np.searchsorted(self.users, self.users)
        # Places among the events of known items, of which histories are made.
        self._known = self.codes[self.codes > 0]
        self._before = np.concatenate([[0], np.cumsum(self.codes > 0)])
        split = events[SPLIT].fill_null("").to_numpy().astype(np.str_)
        self.asked = np.concatenate([np.flatnonzero(split == name) for name in SPLITS])
        bounds = np.cumsum([0, *(np.count_nonzero(split == name) for name in SPLITS)])
        self.splits = {
            name: np.arange(bounds[place], bounds[place + 1], dtype=np.int64) for place, name in enumerate(SPLITS)
        }
        self.groups = self.users[self.asked]
        self.segments = self._segments()

    @property
    def size(self) -> int:
        """Return the number of items in the catalogue."""
        return self.contract.output_shape[0]

    def _weight(self) -> Matrix | None:
        """Return (events,) how much each counts, 1 on average over the learned ones; None: all alike."""
        if WEIGHT not in self.events.columns:
            return None
        given = self.events[WEIGHT].to_numpy().astype(np.float64)
        scaled: Matrix = (given / given[self.learned].mean()).astype(np.float32)
        return scaled

    def weights(self, rows: Rows) -> Floats | None:
        """Return (n,) how much the event that each row asks for counts in training; None: all alike."""
        return None if self.weight is None else self.weight[self.asked[rows]]

    def _segments(self) -> dict[str, NDArray[np.str_]]:
        before = self.asked - self._first[self.asked]
        _, item = numbered_items(self.events)
        born = np.full(item.max() + 1, np.iinfo(np.int64).max)
        np.minimum.at(born, item, self.days)
        young = self.days[self.asked] - born[item[self.asked]] < NEW_DAYS
        return {
            ACTIVITY: activity_of(before),
            AGE: np.where(young, f"under {NEW_DAYS} days", "older").astype(np.str_),
            **{
                # Only of the rows that are asked: an array of texts takes many times what the column takes.
                name.removeprefix(OF): self.events[name].gather(self.asked).to_numpy().astype(np.str_)
                for name in self.events.columns
                if name.startswith(OF)
            },
        }

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        places = self.asked[rows]
        return {HISTORY: self._windows(self._before[self._first[places]], self._before[places])}

    def _windows(self, first: Codes, end: Codes) -> Codes:
        """Return (n, history) codes of the known items from place `first` up to `end`: the last ones of each."""
        length = self.contract.inputs[HISTORY][1][0]
        places = end[:, None] - length + np.arange(length)
        codes = np.zeros(places.shape, np.int64)
        there = places >= first[:, None]
        codes[there] = self._known[places[there]]
        return codes

    def target(self, rows: Rows) -> NDArray[np.int8]:
        """Return (n, items): 1 is the item that came, -1 one that the user had before, which is no answer."""
        places = self.asked[rows]
        found = np.zeros((len(rows), self.size), np.int8)
        if not self.options.repeats:
            first, end = self._before[self._first[places]], self._before[places]
            line, had = ragged(first, end)
            found[line, self._known[had] - 1] = -1
        code = self.codes[places]
        there = np.flatnonzero(code)
        found[there, code[there] - 1] = 1
        return found

    def sequences(self, rows: Rows) -> list[Codes]:
        """Return the codes of all learned events of each user of some training rows, in order."""
        return [self.codes[part] for part in self._learned_of(rows)]

    def sequence_weights(self, rows: Rows) -> list[Matrix] | None:
        """Return the weights of the events of `sequences`; None: all count alike."""
        return None if self.weight is None else [self.weight[part] for part in self._learned_of(rows)]

    def _learned_of(self, rows: Rows) -> list[Codes]:
        chosen = self.learned & (self.codes > 0) & np.isin(self.users, np.unique(self.groups[rows]))
        places = np.flatnonzero(chosen)
        starts = np.flatnonzero(np.diff(self.users[places], prepend=-1))
        return [part for part in np.split(places, starts[1:]) if len(part)]

    def pairs(self) -> NDArray[np.float64]:
        """Return (items, items) how many users had both among the learned events, see `together`.

        It is counted anew for each caller: kept, it would take 1.2 GB of a large catalogue for as long as the dataset.
        """
        rows = self.splits["train"]
        return together(self.sequences(rows), self.size, weights=self.sequence_weights(rows))

    @cached_property
    def neighbours(self) -> Matrix:
        """Return (items, items) the similarities of item-kNN."""
        return item_knn(self.pairs())

    @cached_property
    def popularity(self) -> Floats:
        """Return (items,) how many learned events each item has, by their weights where they have some."""
        return self._counted(self.learned)

    @cached_property
    def had(self) -> Floats:
        """Return (items,) how many learned events each item has."""
        return np.bincount(self.codes[self.learned], minlength=self.size + 1)[1:].astype(np.float32)

    def _counted(self, chosen: NDArray[np.bool_]) -> Floats:
        weight = None if self.weight is None else self.weight[chosen]
        return np.bincount(self.codes[chosen], weight, self.size + 1)[1:].astype(np.float32)

    def popularity_before(self, rows: Rows, days: int) -> Floats:
        """Return (n, items) how many events each item had in the days before that of each row, whoever had them.

        Events that a split asks are among them, once their day is over: by then all of them are known.
        """
        chosen = self.codes > 0
        day, place = np.unique(self.days[self.asked[rows]], return_inverse=True)
        found = np.zeros((len(day), self.size), np.float32)
        for number, today in enumerate(day):
            found[number] = self._counted(chosen & (self.days < today) & (self.days >= today - days))
        return found[place]

    def under(self, contract: FeatureContract, raw: Raw | None = None) -> "Histories":
        """Return the same rows under another catalogue or length of history. Raises ValueError saying what differs."""
        differing_options(parse_options(contract.settings["options"]), self.options, SAME, FREE)
        return Histories(self.events, contract, self.titles, self.attributes)

    def answers(self, contract: FeatureContract) -> Callable[[Floats], Floats]:
        """Return the scores of another catalogue's items as those of this one; an item that it lacks comes last."""
        place = codes_of(pl.Series(list(self.contract.categories[ITEM])), contract)

        def translated(output: Floats) -> Floats:
            found = np.repeat(output.min(axis=1, keepdims=True) - 1, self.size, axis=1)
            found[:, place > 0] = output[:, place[place > 0] - 1]
            return found

        return translated

    def newest(self) -> "Histories":
        """Return the same events, of which those that validated are learned from too; the catalogue stays."""
        learned = pl.col(LEARNED) | (pl.col(SPLIT) == "valid").fill_null(value=False)
        events = with_validation(self.events.with_columns(learned.alias(LEARNED)), SPLIT)
        return Histories(events, self.contract, self.titles, self.attributes)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.events.write_parquet(folder / "events.parquet")
        write_json(folder / "contract.json", contract_to_json(self.contract))
        if self.attributes is not None:
            self.attributes.write_parquet(folder / ATTRIBUTES)
        if self.titles:
            write_json(folder / "assets" / TITLES, self.titles)


def load_histories(folder: Path) -> Histories:
    """Load the dataset that `Histories.save` wrote."""
    events = pl.read_parquet(folder / "events.parquet", glob=False)
    titles = folder / "assets" / TITLES
    contract = contract_from_json(read_json(folder / "contract.json"))
    attributes = pl.read_parquet(folder / ATTRIBUTES, glob=False) if (folder / ATTRIBUTES).is_file() else None
    return Histories(events, contract, read_json(titles) if titles.is_file() else None, attributes)


def build_histories(tables: Tables, options: Options, as_of: date) -> Histories:
    """Build the dataset of the events up to `as_of`. Raises DataError when a split has no row."""
    events = dealt(with_attributes(in_order(tables[EVENTS], options, as_of), tables, options), options, as_of)
    items = catalogue(events, options)
    contract, titles = make_contract(options, items), _titles(tables, options, items)
    return Histories(events, contract, titles, _attributes(tables, options, items))


def _titles(tables: Tables, options: Options, items: Sequence[str]) -> dict[str, str]:
    """Return what the items of the catalogue are called, as far as the table of items tells."""
    if options.title is None or ITEMS not in tables:
        return {}
    found = tables[ITEMS].select(options.item, options.title).drop_nulls().collect(engine="streaming")
    known = set(items)
    return {item: title for item, title in found.iter_rows() if item in known}


def _attributes(tables: Tables, options: Options, items: Sequence[str]) -> pl.DataFrame | None:
    """Return what the table of items tells of those of the catalogue, in their order."""
    if options.new_items is None or ITEMS not in tables:
        return None
    columns = (*options.new_items.words, *options.new_items.numbers)
    found = tables[ITEMS].select(pl.col(options.item).alias(ITEM), *columns).collect(engine="streaming")
    return pl.DataFrame({ITEM: items}).join(found, ITEM, "left", maintain_order="left")


def make_contract(options: Options, items: Sequence[str]) -> FeatureContract:
    """Return the contract of models over a catalogue."""
    return FeatureContract(
        problem="ranking",
        inputs={HISTORY: ("int64", (options.history,))},
        output_shape=(len(items),),
        categories={ITEM: tuple(items)},
        settings={"options": options.model_dump(mode="json")},
        histories={HISTORY: Codebook(ITEM, tuple(items), 1)},
        choice=min(options.top, len(items)),
        repeats=options.repeats,
    )


def codes_of(items: pl.Series, contract: FeatureContract) -> Codes:
    """Return (n,) the code of each item, from 1; 0 for one that the catalogue lacks."""
    book = {item: code for code, item in enumerate(contract.categories[ITEM], start=1)}
    return items.replace_strict(book, default=0, return_dtype=pl.Int64).to_numpy()


def ragged(first: Codes, end: Codes) -> tuple[Codes, Codes]:
    """Return (line, place) of all places from `first` up to `end` of each line, one after the other."""
    count = end - first
    line = np.repeat(np.arange(len(count)), count)
    return line, np.arange(len(line)) - np.repeat(np.cumsum(count) - count, count) + first[line]
