"""The ranking problem wires events, histories, metrics and losses to the interface that all stages know."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.base import (
    Dataset,
    Example,
    FeatureContract,
    Finding,
    Floats,
    HardRows,
    Inputs,
    Outcomes,
    Predict,
    Problem,
    Rows,
    Score,
    Since,
    Strategies,
)
from tasks.problems.ranking import baselines
from tasks.problems.ranking.afterwards import last_day, outcomes, popular_lists
from tasks.problems.ranking.checks import findings
from tasks.problems.ranking.dataset import (
    HISTORY,
    Histories,
    build_histories,
    load_histories,
    make_contract,
)
from tasks.problems.ranking.disturbances import disturb
from tasks.problems.ranking.events import EVENTS, ITEM, ITEMS, USERS
from tasks.problems.ranking.hidden import METRIC, of_hidden
from tasks.problems.ranking.metrics import best_of, normalised, score_ranking
from tasks.problems.ranking.options import ACTIVITY, AGE, AT, Options, parse_options
from tasks.problems.ranking.pictures import by_popularity, of_histories
from tasks.problems.ranking.recommend import recommended, require_fewer
from tasks.tables.table import Column, TableContract, Tables

PLACEHOLDER = ("a", "b")
HEAVIEST = 1e6
"""Sums of such weights are as exact as those of counts."""


class Ranking(Problem):
    """Ranking orders the items of a catalogue by how likely each comes next in a user's history."""

    kind: ClassVar[str] = "ranking"
    refits: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = parse_options(options)

    @property
    def primary_metric(self) -> str:
        return f"1 - ndcg_{AT}"

    @property
    def segment_columns(self) -> tuple[str, ...]:
        return (ACTIVITY, AGE, *self.options.users)

    def tables(self) -> tuple[TableContract, ...]:
        return table_contracts(self.options)

    def findings(self, tables: Tables, as_of: date) -> Iterable[Finding]:
        return findings(tables, self.options, as_of)

    def draft_contract(self) -> FeatureContract:
        return make_contract(self.options, PLACEHOLDER)

    def features(self, tables: Tables, as_of: date) -> Dataset:
        return build_histories(tables, self.options, as_of)

    def load(self, folder: Path) -> Dataset:
        return load_histories(folder)

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        from tasks.problems.ranking.losses import cross_entropy

        return cross_entropy

    def strategies(self) -> Strategies:
        from tasks.problems.ranking.losses import SOFT

        return Strategies(SOFT)

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        """Return scores of the best by validation of popularity, popularity of the last days, and item-kNN."""
        assert isinstance(dataset, Histories)
        return baselines.naive(dataset, rows)

    def baselines(self, dataset: Dataset, rows: Rows) -> Mapping[str, Floats]:
        assert isinstance(dataset, Histories)
        return baselines.for_the_report(dataset, rows)

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        return score_ranking(output, target)

    @property
    def metrics(self) -> tuple[str, ...]:
        told = (f"hr_{AT}", "mrr", "coverage", "novelty", "new_items")
        return told if self.options.new_items is None else (*told, METRIC)

    def beside(self, dataset: Dataset, rows: Rows, output: Floats) -> Mapping[str, float]:
        """Return the novelty of what is named, mean -log2 of its share of the users, and the share of it that is new.

        New is what nobody had in training. With `new_items`, how well the output tells of items that are hidden for it.
        """
        assert isinstance(dataset, Histories)
        named = best_of(output, dataset.target(rows))
        had = dataset.had[named[named >= 0]]
        users = len(np.unique(dataset.users[dataset.learned]))
        return {
            "novelty": float(-np.log2(np.maximum(had, 1) / users).mean()),
            "new_items": float((had == 0).mean()),
            **of_hidden(dataset, rows, output),
        }

    def named(self, dataset: Dataset, rows: Rows, output: Floats) -> NDArray[np.int64]:
        """Return the best items of each row, without those that the user had."""
        return best_of(output, dataset.target(rows))

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        """Return the weighed mean of log shares: a scale of scores that all members have in common."""
        return np.average([normalised(output) for output in outputs], axis=0, weights=weights).astype(np.float32)

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        return disturb(kind, level, inputs, seed)

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        """Return the best `top` items of each user with an event up to `as_of`, with `rank` from 1 and `score`.

        A user's items that the release does not know count for nothing. With `new_items`, items that the release does
        not know are named too, where a table of items tells their attributes. Raises DataError when there is no event.
        """
        return recommended(tables, as_of, contract, model)

    def require_fit(self, tables: Tables, contract: FeatureContract, most: int) -> None:
        """Raise RuleError when there are more new items than `most` bytes of weights are for."""
        require_fewer(tables, contract, most)

    def last_day(self, as_of: date) -> date:
        return last_day(as_of, self.options)

    def naive_predictions(self, since: Since, contract: FeatureContract) -> pl.DataFrame:
        """Return what was most popular in the last week, for each user without what that user had."""
        return popular_lists(since, self.options, contract.choice)

    def outcomes(self, predictions: pl.DataFrame, since: Since, contract: FeatureContract) -> Outcomes:
        """Score each user's list by what came on the days after; no list is known to be wrong before that."""
        return outcomes(predictions, since, self.options)

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        """Show hit rates by popularity, and some histories with what was named and what came."""
        assert isinstance(dataset, Histories)
        target, items = dataset.target(rows), dataset.contract.categories[ITEM]
        histories = dataset.inputs(rows)[HISTORY]

        def name(item: str) -> str:
            return dataset.titles.get(item, item)

        shown = of_histories(histories, target, outputs, lambda place: name(items[place]), count - 1)
        return [by_popularity(dataset.popularity, target, outputs), *shown][:count]


def table_contracts(options: Options) -> tuple[TableContract, ...]:
    """Return the contracts of events and, where there are some, of items and users."""
    repeated = [Column(options.time, "date", key=options.repeats, about="day of the event")]
    columns = [
        Column(options.user, "string", key=True, about="who"),
        Column(options.item, "string", key=True, about="what"),
        *repeated,
    ]
    if options.order:
        columns.append(Column(options.order, "number", about="what orders the events of a day"))
    if options.rating:
        columns.append(Column(options.rating, "number", nullable=True, about="how much it was liked"))
    if options.weight:
        columns.append(Column(options.weight, "number", above=0, high=HEAVIEST, about="how much it teaches"))
    events = TableContract(tuple(columns), options.time, None, (options.user,), name=EVENTS)
    return events, *_items(options), *_users(options)


def _users(options: Options) -> tuple[TableContract, ...]:
    if not options.users:
        return ()
    columns = [Column(options.user, "string", key=True, about="who")]
    columns += [
        Column(name, "string", nullable=True, numerals=True, about="what tells of a user") for name in options.users
    ]
    return (TableContract(tuple(columns), None, None, (options.user,), name=USERS, required=False),)


def _items(options: Options) -> tuple[TableContract, ...]:
    if not options.items:
        return ()
    described = [Column(options.item, "string", key=True, about="what")]
    if options.title:
        described.append(Column(options.title, "string", nullable=True, about="what it is called"))
    attributes = options.new_items
    if attributes is not None:
        # Numbers as texts: descriptions have words such as "unknown" among them.
        names = [name for name in (*attributes.words, *attributes.numbers) if name != options.title]
        described += [
            Column(name, "string", nullable=True, numerals=name in attributes.numbers, about="what tells of an item")
            for name in names
        ]
    return (TableContract(tuple(described), None, None, (options.item,), name=ITEMS, required=False),)
