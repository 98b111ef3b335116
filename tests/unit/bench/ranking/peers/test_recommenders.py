"""Runs where RecTools, implicit and faiss are: `make bench-ranking-test`."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.ranking.exchange import Rows, flat

pytest.importorskip("rectools")

from bench.ranking import index
from bench.ranking.peers import get_peer, implicit_als, rectools_sasrec
from tasks.core.errors import ConfigError

ITEMS, LENGTH = 12, 6


def padded(had: list[int]) -> list[int]:
    return ([0] * LENGTH + had)[-LENGTH:]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Users who go round a circle of items: what comes is the next one. Item ITEMS has no event."""
    size = ITEMS - 1
    walks = [[(start + step) % size + 1 for step in range(6)] for start in range(size) for _ in range(6)]
    learned, starts = flat([np.array(walk[:4]) for walk in walks])
    asked = [(walk[:place], walk[place]) for walk in walks for place in (1, 2, 3)]
    valid_had, valid_bounds = flat([np.array(walk[:4]) for walk in walks])
    test_had, test_bounds = flat([np.array(walk[:5]) for walk in walks])
    return Rows(
        items=np.array([ITEMS]),
        learned=learned,
        starts=starts,
        newest=np.empty(0, np.int64),
        newest_starts=np.zeros(1, np.int64),
        history=np.array([padded(had) for had, _ in asked]),
        came=np.array([item for _, item in asked]),
        valid_history=np.array([padded(walk[:4]) for walk in walks]),
        valid_had=valid_had,
        valid_bounds=valid_bounds,
        valid_came=np.array([walk[4] for walk in walks]),
        test_history=np.array([padded(walk[:5]) for walk in walks]),
        test_had=test_had,
        test_bounds=test_bounds,
    )


def test_sasrec_learns_what_comes_next_and_scores_in_our_order(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rectools_sasrec, "DROPOUTS", (0.0,))
    monkeypatch.setattr(rectools_sasrec, "EPOCHS", 12)
    monkeypatch.setattr(rectools_sasrec, "OPTIONS", {**rectools_sasrec.OPTIONS, "n_factors": 16, "lr": 0.02})
    result = rectools_sasrec.fit_predict(rows, 0)
    best = result.scores.argmax(axis=1) + 1
    last = rows.test_history[:, -1]
    assert (best == last % (ITEMS - 1) + 1).mean() > 0.9
    assert result.scores.shape == (len(last), ITEMS) and (result.scores[:, -1] < -rectools_sasrec.NAMED).all()
    assert result.settings["epochs"] <= 12 and len(result.tried) == 1 and result.size > 1_000


def test_a_last_fit_learns_what_only_the_newest_rows_show(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest rows go round the circle the other way."""
    monkeypatch.setattr(rectools_sasrec, "DROPOUTS", (0.0,))
    monkeypatch.setattr(rectools_sasrec, "EPOCHS", 12)
    monkeypatch.setattr(rectools_sasrec, "OPTIONS", {**rectools_sasrec.OPTIONS, "n_factors": 16, "lr": 0.02})
    monkeypatch.setattr(implicit_als, "FACTORS", (8,))
    size = ITEMS - 1
    newest, starts = flat([(start - np.arange(5)) % size + 1 for start in range(size) for _ in range(6)])
    had, bounds = flat([np.array([start + 1]) for start in range(size)])
    asked = {"test_history": np.array([padded([item]) for item in had]), "test_had": had, "test_bounds": bounds}
    before = replace(rows, **asked)
    again = replace(before, newest=newest, newest_starts=starts)
    ahead, back = had % size + 1, (had - 2) % size + 1
    first, second = (rectools_sasrec.fit_predict(given, 0).scores.argmax(axis=1) + 1 for given in (before, again))
    assert (first == ahead).mean() > 0.9 and (second == back).mean() > 0.9
    first, second = (implicit_als.fit_predict(given, 0).scores for given in (before, again))
    assert not np.allclose(first, second)


def test_als_names_what_stands_near(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implicit_als, "FACTORS", (8,))
    result = implicit_als.fit_predict(rows, 0)
    scores = result.scores.copy()
    scores[np.arange(len(scores))[:, None], rows.test_history[:, -5:] - 1] = -np.inf
    near = np.abs(scores.argmax(axis=1) + 1 - rows.test_history[:, -1]) % (ITEMS - 1)
    assert np.isin(near, (1, 5, ITEMS - 2, ITEMS - 6)).mean() > 0.9, "beside one end of the walk"
    assert result.tried and result.scores.shape == (len(near), ITEMS)


def test_an_index_finds_what_brute_force_finds() -> None:
    vectors, chosen_by, users = index.made(2000)
    made: Any = index.indexed(vectors)
    truth = [index.brute(vectors, user[None]) for user in users]
    made.nprobe = made.nlist
    assert index.recall(made, users, truth) > 0.999
    made.nprobe = 1
    assert index.recall(made, users, truth) < 0.95
    assert len(chosen_by) == index.USERS and index.line(1000).count("|") == 9


def test_an_unknown_peer_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no 'mf'"):
        get_peer("mf")
