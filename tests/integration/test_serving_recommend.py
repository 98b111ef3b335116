"""A trained release that recommends: the table of scores, the client and the service name the same items."""

import http.client
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.local.environments import ENVIRONMENTS, PROJECT
from infra.testing.load import service
from serving.client import Champion
from tasks.scoring.rows import PARQUET


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the release, the events and the scores, made where stages run."""
    folder = tmp_path_factory.mktemp("films")
    python = ENVIRONMENTS / "task" / "bin" / "python"
    done = subprocess.run(  # noqa: PLW1510 what it says is shown
        [python, "-m", "tests.ranking_release", folder],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def ask(port: int, path: str, body: bytes, form: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", path, body, {"Content-Type": form})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content[:300]
    return content


@pytest.mark.timeout(600)
def test_table_client_and_service_name_the_same_items(made: Path, tmp_path: Path) -> None:
    wanted = pl.read_parquet(made / "scores.parquet")
    events = pl.read_parquet(made / "events.parquet").sort("user", "time", "clock")
    users = wanted["user"].unique(maintain_order=True).to_list()
    lists = {user: part for (user,), part in wanted.group_by("user", maintain_order=True)}
    champion = Champion.open(str(made / "releases"), "films", cache=tmp_path / "cache")
    as_of = champion.release.as_of
    # The order of a history's last events at one moment is the table's: those that nothing else orders are told so.
    histories = {user: ordered(made, user) for user in users}
    assert sum(map(len, histories.values())) == len(events)
    with service(str(made / "releases"), "films", tmp_path / "service") as port:
        rows = (made / "events.parquet").read_bytes()
        table = pl.read_parquet(ask(port, f"/v1/score?as_of={as_of}", rows, PARQUET))
        body = json.dumps({"histories": list(histories.values()), "k": 12}).encode()
        answers: list[dict[str, Any]] = json.loads(ask(port, "/v1/recommend", body, "application/json"))[
            "recommendations"
        ]
    assert table.equals(wanted)
    for user, answer in zip(users, answers, strict=True):
        mine, named = lists[user], champion.recommend(histories[user], k=12)
        assert mine["item"].to_list() == list(named.items) == answer["items"], user
        wanted_scores = pytest.approx(mine["score"].to_list(), rel=1e-5)
        assert answer["scores"] == wanted_scores and list(named.scores) == wanted_scores


def ordered(made: Path, user: str) -> list[str]:
    """A user's items in the order of the features, which the night has kept."""
    known = pl.read_parquet(made / "artifacts" / "features" / "events.parquet")
    return known.filter(pl.col("_user") == user)["_item"].to_list()
