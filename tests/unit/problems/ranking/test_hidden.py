"""How well attributes tell of new items is measured on hidden ones, and a candidate that tells nothing is refused."""

from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tasks.gates.champion import Champion
from tasks.gates.diversity import floor
from tasks.gates.options import FloorGate
from tasks.problems.base import Floats, Score
from tasks.problems.ranking.closed_form import decay, ease, profile
from tasks.problems.ranking.dataset import HISTORY, Histories, load_histories
from tasks.problems.ranking.events import ITEM
from tasks.problems.ranking.hidden import METRIC, is_hidden
from tests.unit.problems.ranking.films import AS_OF, problem

OPTIONS = {
    "split": "leave-one-out",
    "items": True,
    "new_items": {"words": ["genres"], "numbers": {"place": 1.5}, "regularisation": 0.1},
}
FILMS, USERS = 150, 300
GATE = FloorGate(metric=METRIC, share=0.8, least=0.3)


def walks() -> pl.DataFrame:
    """Users go from film to film in the films' order, each from another start."""
    rows = [
        (f"u{user:03d}", f"f{(user * 7 + step) % FILMS:03d}", AS_OF - timedelta(days=30 - step), float(step))
        for user in range(USERS)
        for step in range(10)
    ]
    return pl.DataFrame(rows, ["user", "item", "time", "clock"], orient="row")


def items() -> pl.DataFrame:
    """Films whose place in that order is an attribute."""
    number = pl.int_range(FILMS)
    return pl.select(
        item="f" + number.cast(pl.String).str.zfill(3), genres=pl.lit("film"), place=number.cast(pl.String)
    )


@cache
def made() -> Histories:
    found = problem(**OPTIONS).features({"events": walks().lazy(), "items": items().lazy()}, AS_OF)
    assert isinstance(found, Histories)
    return found


def answers(*, by_chance: bool = False) -> Floats:
    rows = made().splits["test"]
    if by_chance:
        return np.random.default_rng(0).normal(size=(len(rows), made().size)).astype(np.float32)
    history = profile(made().inputs(rows)[HISTORY], decay(8, 1.0), made().size)
    return history @ ease(made().pairs(), 5.0)


def scored(output: Floats) -> Score:
    kind, rows = problem(**OPTIONS), made().splits["test"]
    score = kind.score(output, made().target(rows))
    return Score(score.loss, score.weight, {**score.metrics, **kind.beside(made(), rows, output)})


def test_a_candidate_that_tells_nothing_of_new_items_is_refused() -> None:
    good, bad = (floor("one", scored(answers(by_chance=chance)), Champion(0), GATE) for chance in (False, True))
    assert good.gate == f"floors/{METRIC}" and good.passed, good
    assert not bad.passed and bad.observed is not None and bad.observed < 0.3, bad


def test_a_candidate_that_tells_less_than_the_champion_is_refused() -> None:
    champion = Champion(3, score=scored(answers()), output=answers())
    rule = FloorGate(metric=METRIC, share=0.8)
    assert floor("one", scored(answers()), champion, rule).passed
    assert not floor("one", scored(answers(by_chance=True)), champion, rule).passed


def test_scores_of_hidden_items_themselves_do_not_count() -> None:
    output = answers()
    away = is_hidden(made().contract.categories[ITEM])
    changed = np.where(away, np.float32(1e3), output)
    assert 0 < away.sum() < len(away) / 2
    assert scored(changed).metrics[METRIC] == pytest.approx(scored(output).metrics[METRIC])


def test_what_is_not_measured_is_refused_with_the_metrics_that_there_are() -> None:
    kind, rows = problem(split="leave-one-out"), made().splits["test"]
    assert METRIC not in kind.beside(Histories(made().events, made().contract), rows, answers())
    without = Score(np.zeros(2), np.ones(2), {"coverage": 0.5})
    found = floor("one", without, Champion(0), GATE)
    assert not found.passed and "was not measured; there are: coverage" in found.note


def test_attributes_stay_with_the_dataset(tmp_path: Path) -> None:
    made().save(tmp_path)
    again, attributes = load_histories(tmp_path), made().attributes
    assert again.attributes is not None and attributes is not None and again.attributes.equals(attributes)
    assert attributes[ITEM].to_list() == list(made().contract.categories[ITEM])
    under = again.under(again.contract)
    assert under.attributes is again.attributes
