"""A night of a ranking in one process: what is released says the same to all who ask it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.client import Champion, InputError
from tasks.config.workload import load_workload
from tasks.core.files import read_json
from tasks.proposal.propose import propose
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tests.in_process import night_of
from tests.unit.problems.ranking.films import AS_OF, events

PROJECT = Path(__file__).parents[2]
SPLIT = {"split": "leave-one-out"}


def ratings(path: Path) -> Path:
    """The events as a file of ratings has them: other names, the seconds of a clock, and some lines twice."""
    seconds = pl.col("time").dt.epoch("s") + pl.col("clock").cast(pl.Int64)
    table = events().select(userId="user", movieId="item", rating=pl.lit(4.5), timestamp=seconds)
    pl.concat([table, table[:9]]).write_csv(path)
    return path


def section(root: Path) -> dict[str, Any]:
    """What is proposed for a file of ratings, with the models of the workload `recommendation`, small."""
    proposed = propose("films", ratings(root / "ratings.csv"), root)
    assert proposed.as_of == AS_OF and proposed.section["problem"]["order"] == "order"
    found = load_workload(PROJECT / "params.yaml", "recommendation").model_dump(mode="json")
    training = {"epochs": 4, "batch_size": 32, "learning_rate": 0.03}
    student = {"model": {"kind": "decayed-sum", "width": 8}, "training": training}
    found |= {
        "source": {"kind": "tables", "tables": {
            "events": proposed.section["source"], "items": {"kind": "table", "path": "items.parquet"},
        }},
        "problem": {"kind": "ranking", "order": "order", "history": 8, "rows_per_user": 8, "top": 12,
                    "items": True, "title": "title", **SPLIT},
        "folds": 2,
        "teachers": {"ease": {"model": {"kind": "ease", "regularisation": 5}}},
        "students": {"student": {**student, "alpha": 0.3, "soft": {"kind": "top-items", "top": 5}},
                     "twin": {**student, "alpha": 1.0}},
        "recipes": {kind: {"steps": [{"kind": kind}]} for kind in ("int8-weights", "int4-weights")},
        "checks": {"max_volume_ratio": 50},
    }  # fmt: skip
    gates = found["gates"]
    gates["accuracy"] |= {"limit": 1, "naive_margin": 0, "retention": 100, "max_gain": 1, "resamples": 200}
    gates["segments"] |= {"min_rows": 5}
    gates["floors"] = []  # these films have no attributes
    gates["latency"] |= {"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6}
    gates["robustness"] = [{**item, "limit": 100} for item in gates["robustness"]]
    return found


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A night's folder, its settings and its verdict."""
    names = [f"f{number:02d}" for number in range(40)]
    items = pl.DataFrame({"item": names, "title": [f"Film {name}" for name in names]})
    root = tmp_path_factory.mktemp("night")
    return night_of(root, "films", section(root), AS_OF, items=items)


def test_a_night_is_promoted_and_tells_all_baselines(night: Any) -> None:
    root, _, verdict = night
    assert read_json(root / "artifacts" / "promotion" / "outcome.json")["outcome"] == "promoted", verdict["reason"]
    models = {model["name"]: model for model in verdict["models"]}
    assert {"naive", "popularity", "popularity, 7 days", "item-kNN", "EASE, decayed", "ensemble"} <= models.keys()
    assert models[verdict["winner"]]["metrics"].keys() >= {"hr_10", "mrr", "coverage", "novelty", "new_items"}
    pages = "".join(path.read_text() for path in (root / "pages").rglob("*.html") if "data-docs" not in path.parts)
    assert "hit rate at 10 by popularity" in pages and "Film f" in pages


def test_client_and_table_say_the_same(night: Any) -> None:
    root, settings, _ = night
    asked = events().rename({"clock": "order"})
    scores = Scorer(ReleaseStore(settings.releases(), "films"), "films").score({"events": asked}, AS_OF)
    assert scores["user"].n_unique() == 60 and scores["rank"].max() == 12
    champion = Champion.open(str(settings.release_store), "films", cache=root / "cache")
    known = pl.read_parquet(root / "artifacts" / "features" / "events.parquet")
    for user in ("u003", "u010"):
        history = known.filter(pl.col("_user") == user)["_item"].to_list()
        found = champion.recommend([*history[:3], "not a film", *history[3:]], k=12)
        mine = scores.filter(pl.col("user") == user)
        assert list(found.items) == mine["item"].to_list() and found.unknown == 1 and not found.popular
        assert found.scores == pytest.approx(mine["score"].to_list(), rel=1e-5)
    nobody = champion.recommend([], k=3)
    book = json.loads((root / "artifacts" / "features" / "contract.json").read_text())["categories"]["_item"]
    assert nobody.popular and list(nobody.items) == book[:3]
    with pytest.raises(InputError, match="k: 0; expected a whole number of 1 or more"):
        champion.recommend([], k=0)


def test_events_of_the_future_twice_and_without_an_item_stop_at_validation(night: Any, tmp_path: Path) -> None:
    from tasks.problems.ranking.options import Options
    from tasks.problems.ranking.problem import table_contracts
    from tasks.tables.validation.options import Checks
    from tasks.tables.validation.suite import validate

    contract, _ = table_contracts(Options(order="clock", items=True))
    late = events()[:1].with_columns(pl.lit(AS_OF + timedelta(days=1)).alias("time"), user=pl.lit("u999"))
    nothing = events()[:1].with_columns(item=pl.lit(None, pl.String))
    table = pl.concat([events(), events()[:1], late, nothing])
    failed = [check for check in validate(table, {}, contract, Checks(), AS_OF, None) if not check.success]
    said = {f"{check.column}: {check.rule}" for check in failed}
    assert {"item: not null", "user+item: unique user, item", f"time: no row after {AS_OF}"} <= said
