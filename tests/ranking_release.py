"""A trained release that recommends, and what `nightstill score` says of its users.

    python -m tests.ranking_release OUT

Writes OUT/releases, OUT/events.parquet and OUT/scores.parquet, in the environment of the stages.
"""

import shutil
import sys
from pathlib import Path

import polars as pl
import pytest

from tasks.core.settings import Settings
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tests.in_process import whole_night
from tests.integration.test_recommendation_night import PROJECT, section
from tests.unit.problems.ranking.films import AS_OF, events


def make(out: Path) -> None:
    """Run a night of one teacher and one student, and score the same evening's events."""
    shutil.copy(PROJECT / "dvc.yaml", out)
    events().write_parquet(out / "events.parquet")
    items = events()["item"].unique().sort()
    pl.DataFrame({"item": items, "title": "Film " + items}).write_parquet(out / "items.parquet")
    settings = Settings(home=out / "home", project=out, release_store=str(out / "releases"))
    small = section(out)
    small["source"]["tables"]["events"] = {"kind": "table", "path": "events.parquet"}
    small["problem"]["order"] = "clock"
    small["teachers"]["ease"]["keep"] = ["weights"]
    small["students"] = {"student": {**small["students"]["student"], "start_from": "ease"}}
    small["recipes"] = {"int8-weights": small["recipes"]["int8-weights"]}
    with pytest.MonkeyPatch.context() as patch:
        verdict = whole_night(out, settings, small, "films", AS_OF, patch)
    assert verdict["winner"], verdict["reason"]
    scores = Scorer(ReleaseStore(settings.releases(), "films"), "films").score({"events": events()}, AS_OF)
    scores.write_parquet(out / "scores.parquet")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
