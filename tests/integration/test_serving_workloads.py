"""Every workload of params.yaml, and one with weather: consumers get the numbers of `nightstill score`."""

import http.client
import os
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from polars import selectors

from infra.local.environments import ENVIRONMENTS, PROJECT
from infra.testing.load import started
from serving.client import Champion
from serving.service.tables import RUN, Feed, scorer_of
from tasks.scoring.rows import PARQUET

WORKLOADS = [*yaml.safe_load((PROJECT / "params.yaml").read_text())["workloads"], "weather"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of releases, rows and scores, made where stages run."""
    folder = tmp_path_factory.mktemp("workloads")
    python = ENVIRONMENTS / "task" / "bin" / "python"
    settings = {
        "NIGHTSTILL_HOME": str(folder / "home"),
        "NIGHTSTILL_RELEASE_STORE": str(folder / "releases"),
        "NIGHTSTILL_PROJECT": str(folder),
    }
    done = subprocess.run(  # noqa: PLW1510 what it says is shown
        [python, "-m", "tests.workload_releases", folder],
        cwd=PROJECT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def difference(found: pl.DataFrame, wanted: pl.DataFrame) -> float:
    """Largest of any number; columns and all else must be equal."""
    assert found.columns == wanted.columns and len(found) == len(wanted) > 0
    largest = 0.0
    for name in wanted.columns:
        if wanted[name].dtype.is_float():
            largest = max(largest, float(np.abs(found[name].to_numpy() - wanted[name].to_numpy()).max()))
        else:
            assert found[name].cast(pl.String).to_list() == wanted[name].cast(pl.String).to_list()
    return largest


def ask(port: int, body: bytes, as_of: date) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", f"/v1/score?as_of={as_of}", body, {"Content-Type": PARQUET})
    return connection.getresponse()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_client_and_service_give_the_numbers_of_scoring(workload: str, made: Path, tmp_path: Path) -> None:
    table, scores = (made / workload / f"{name}.parquet" for name in ("table", "scores"))
    wanted = pl.read_parquet(scores)
    champion = Champion.open(str(made / "releases"), workload, cache=tmp_path / "cache", files=(RUN,))
    as_of = date.fromisoformat(champion.release.as_of)
    scorer = scorer_of(champion.model)
    by_client = scorer.predict({scorer.contracts[0].name: pl.read_parquet(table)}, as_of, Feed(champion.model))
    assert difference(by_client, wanted) == 0
    with started(str(made / "releases"), workload, tmp_path / "cache") as (port, _):
        answer = ask(port, table.read_bytes(), as_of)
        content = answer.read()
        assert answer.status == 200, content[:300]
        assert difference(pl.read_parquet(content), wanted) == 0
        other_day = pl.read_parquet(ask(port, table.read_bytes(), as_of - timedelta(days=7)).read())
    numbers = wanted.select(selectors.float()).columns
    assert not other_day.select(numbers).equals(wanted.select(numbers))  # another day's answer would be seen
