"""A night of a ranking whose events have weights and whose users have attributes."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.files import read_json
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tests.in_process import night_of
from tests.integration.test_recommendation_night import section
from tests.unit.problems.ranking.films import AS_OF, events
from tests.unit.problems.ranking.test_users import users


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root: Path = tmp_path_factory.mktemp("users")
    found = section(root)
    found["source"]["tables"] = {name: {"kind": "table", "path": f"{name}.parquet"} for name in ("events", "users")}
    found["problem"] = {"kind": "ranking", "order": "clock", "history": 8, "rows_per_user": 8, "top": 12,
                        "split": "leave-one-out", "weight": "paid", "users": ["age"], "max_unknown": 0.1}  # fmt: skip
    found["teachers"]["ease"]["keep"] = ["weights"]
    found["students"] = {"student": {**found["students"]["student"], "start_from": "ease"}}
    found["recipes"] = {"int8-weights": found["recipes"]["int8-weights"]}
    found["gates"]["segments"]["by"] = ["activity", "age"]
    paid = pl.when(pl.col("item") < "f20").then(3.0).otherwise(1.0)
    return night_of(root, "films", found, AS_OF, events=events().with_columns(paid=paid), users=users())


def test_attributes_of_users_are_segments_of_the_gates_and_of_the_page(night: Any) -> None:
    root, _, verdict = night
    assert read_json(root / "artifacts" / "promotion" / "outcome.json")["outcome"] == "promoted", verdict["reason"]
    assert "segments/age" in {gate["gate"] for gate in verdict["gates"]}
    pages = "".join(path.read_text() for path in (root / "pages").rglob("*.html") if "data-docs" not in path.parts)
    assert "young" in pages


def test_scores_ask_for_no_users_and_take_them(night: Any) -> None:
    _, settings, _ = night
    scorer = Scorer(ReleaseStore(settings.releases(), "films"), "films")
    given = {"events": events().with_columns(paid=pl.lit(1.0))}
    scores = scorer.score(given, AS_OF)
    assert scores.equals(scorer.score({**given, "users": users()}, AS_OF))
    assert scores["user"].n_unique() == 60
