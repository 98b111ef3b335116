"""Measure items that nobody had yet: `python -m bench.ranking.cold [--seed 1 …]`, in the task environment.

Of the films of workload `recommendation` 15 % are hidden, drawn by a hash: their events are in no history and teach
nothing. Asked is which hidden film a user had next, the last ten times that it was one of them, among all hidden films
that the user had not had. The student weighs the scores of known films by attributes, as `nightstill score` does: its
teacher, EASE on a history that decays, has learned from events. The twin knows the same attributes and the truth alone:
the scores of known films are what the user had. Options of both are chosen on another 15 %, hidden in turn.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import product
from statistics import median
from typing import Annotated

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

from bench.log import say
from bench.ranking.data import ATTRIBUTES, films
from tasks.problems.ranking.closed_form import Matrix, decay, ease, profile, together
from tasks.problems.ranking.events import ITEM, USER
from tasks.problems.ranking.metrics import gains
from tasks.problems.ranking.new_items import weights

SHARE, HISTORY, LAST = 0.15, 50, 10
NEARNESS = 10.0
HALF_LIVES, RIDGES, EASES = (5.0, 25.0), (3.0, 10.0, 30.0), (30.0, 100.0, 300.0)
RESAMPLES = 2000

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """Asked has the rows of one set of hidden items. `history` (n, HISTORY): codes of known items, from 1.

    `came` (n,): places among the hidden ones, `had`: those that the user had before, `users` (n,).
    """

    known: pl.DataFrame
    hidden: pl.DataFrame
    sequences: Sequence[Codes]
    history: Codes
    came: Codes
    had: Sequence[Codes]
    users: Codes


def hidden(items: pl.DataFrame, word: str) -> NDArray[np.bool_]:
    """Return (items,) which ones are hidden, by a hash of `word` and the item."""
    drawn = [int.from_bytes(blake2b(f"{word}{item}".encode(), digest_size=8).digest()) for item in items[ITEM]]
    return np.array(drawn, dtype=np.float64) / 2.0**64 < SHARE


def ask(events: pl.DataFrame, items: pl.DataFrame, away: NDArray[np.bool_]) -> Asked:
    """Return what is asked of the items that are `away`."""
    known, cold = items.filter(~away), items.filter(away)
    code, place = ({item: number for number, item in enumerate(table[ITEM])} for table in (known, cold))
    sequences, history, came, had, users = [], [], [], [], []
    for user, (_, row) in enumerate(events.group_by(USER, maintain_order=True).agg(ITEM).iter_rows()):
        sequences.append(np.array([code[item] + 1 for item in row if item in code], np.int64))
        places = [number for number, item in enumerate(row) if item in place]
        for number in places[-LAST:]:
            before = [code[item] + 1 for item in row[:number] if item in code][-HISTORY:]
            if before:
                history.append([0] * (HISTORY - len(before)) + before)
                came.append(place[row[number]])
                had.append(np.array([place[item] for item in row[:number] if item in place], np.int64))
                users.append(user)
    kept = [sequence for sequence in sequences if len(sequence)]
    return Asked(known, cold, kept, np.array(history), np.array(came), had, np.array(users))


def by_user(asked: Asked, scores: Matrix) -> Floats:
    """Return (users,) the mean NDCG@10 of each user who is asked, in order."""
    scores = scores.copy()
    for row, places in enumerate(asked.had):
        scores[row, places] = -np.inf
    ranks = (scores >= scores[np.arange(len(scores)), asked.came][:, None]).sum(axis=1) - 1.0
    count = np.bincount(asked.users)
    found: Floats = (np.bincount(asked.users, gains(ranks)) / np.maximum(count, 1))[count > 0]
    return found


def answers(asked: Asked, options: Sequence[tuple[float, float, float | None]]) -> Iterator[Floats]:
    """Yield the gains by user for each half-life, ridge, and regularisation of EASE; None: the twin."""
    counts, size = together(asked.sequences, len(asked.known), NEARNESS), len(asked.known)

    @cache
    def scores(half_life: float, regularisation: float | None) -> Matrix:
        had = profile(asked.history, decay(HISTORY, half_life), size)
        return had if regularisation is None else had @ product_of(regularisation)

    @cache
    def product_of(regularisation: float) -> Matrix:
        return ease(counts, regularisation)

    @cache
    def weighing(ridge: float) -> Matrix:
        attributes = ATTRIBUTES.model_copy(update={"regularisation": ridge})
        return weights(asked.hidden, asked.known, attributes)

    for half_life, ridge, regularisation in options:
        yield by_user(asked, scores(half_life, regularisation) @ weighing(ridge).T)


def best(asked: Asked, eases: Sequence[float | None]) -> tuple[float, float, float | None]:
    """Return the options with the largest mean gain."""
    tried = list(product(HALF_LIVES, RIDGES, eases))
    found = [float(gain.mean()) for gain in answers(asked, tried)]
    for options, gain in zip(tried, found, strict=True):
        log.info("half-life %g, ridge %g, EASE %s: %.4f", *options, gain)
    return tried[int(np.argmax(found))]


def interval(student: Floats, twin: Floats, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of means, users drawn anew."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(twin), (RESAMPLES, len(twin)))
    low, high = np.quantile(student[drawn].mean(axis=1) / twin[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def main(
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Of the hidden films.")] = None,
) -> None:
    """Choose options on films hidden for that, and print a table of those that are hidden from all choices."""
    say()
    events, items = films()
    ratios = []
    print(
        "| hidden films | rows, users | twin | student | student / twin (95 % interval over users) |\n"
        + "|---" * 5
        + "|"
    )
    for seed in seeds or (1, 2, 3):
        away = hidden(items, f"test {seed} ")
        rest = items.filter(~away)
        others = events.filter(~pl.col(ITEM).is_in(items.filter(away)[ITEM].to_list()))
        valid = ask(others, rest, hidden(rest, f"valid {seed} "))
        chosen = best(valid, EASES), best(valid, [None])
        asked = ask(events, items, away)
        student, twin = answers(asked, chosen)
        ratios.append(student.mean() / twin.mean())
        low, high = interval(student, twin, seed)
        numbers = f"{len(asked.came):,}, {len(twin)} | {twin.mean():.4f} | {student.mean():.4f}"
        print(f"| {away.sum()} by seed {seed} | {numbers} | {ratios[-1]:.3f} ({low:.3f} … {high:.3f}) |", flush=True)
    print(f"\nMedian of the ratios: {median(ratios):.3f}")


if __name__ == "__main__":
    typer.run(main)
