"""Series that several columns name, and a single one that none does: client and service say what scoring says."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient

from serving.client import Champion
from serving.service.app import make_app
from serving.service.tables import RUN, Feed, scorer_of
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tests.conftest import sales_table
from tests.serving_releases import promote_tables
from tests.unit.serving.test_tables import ARROW, AS_OF, CSV, JSON, PARQUET, content, plain, post, read, ready, settings

DAYS = 120
OPTIONS: dict[str, Any] = {
    "kind": "forecasting", "horizon": 14, "context": 21, "season": 7, "country": "US", "price": None, "promotions": [],
    "covariates": {"promo_display": {"known": "ahead"}},
}  # fmt: skip
SEVERAL = {**OPTIONS, "series": ["store_id", "department"], "static": ["store_id"]}
ONE = {**OPTIONS, "series": [], "static": []}
WITHOUT_MEAN = {**ONE, "mean": False}  # as releases of before have it


def rows(series: list[str]) -> pl.DataFrame:
    """Six series of two columns, or one of none."""
    stores, departments = (3, 2) if series else (1, 1)
    table: pl.DataFrame = sales_table(AS_OF, days=DAYS, stores=stores, departments=departments)
    return table.select("date", *series, "units", "promo_display")


@pytest.mark.parametrize("options", [SEVERAL, ONE, WITHOUT_MEAN], ids=["several columns", "none", "without a mean"])
def test_client_and_service_give_the_numbers_of_scoring(
    releases: ReleaseStore, folder: Path, cache: Path, options: dict[str, Any]
) -> None:
    table = rows(options["series"])
    promote_tables(releases, options, table, AS_OF)
    expected = Scorer(releases, "sales").score({"series": table}, AS_OF)
    assert expected.height == (6 if options["series"] else 1) * 14
    assert expected["series_id"][0] == ("s0/d0" if options["series"] else "all")
    assert ("mean" in expected.columns) == (options is not WITHOUT_MEAN)

    champion = Champion.open(str(folder), "sales", cache=cache, files=(RUN,))
    by_client = scorer_of(champion.model).predict({"series": table}, AS_OF, Feed(champion.model))
    assert plain(by_client).equals(plain(expected))

    # So many rows of the table are far more than the model sees: one a series.
    with TestClient(make_app(settings(folder, cache, max_rows=6))) as client:
        ready(client)
        for form in (JSON, CSV, PARQUET, ARROW):
            answer = post(client, content(table, form), form, "" if form == JSON else f"?as_of={AS_OF}")
            assert answer.status_code == 200, answer.text
            found = plain(read(answer.content, form))
            assert found.columns == expected.columns
            numbers = [name for name in found.columns if found[name].dtype.is_float()]
            assert numbers and found.with_columns(pl.col(numbers).cast(pl.Float32)).equals(plain(expected))


def test_of_several_columns_every_combination_counts(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    table = rows(SEVERAL["series"])
    promote_tables(releases, SEVERAL, table, AS_OF)
    with TestClient(make_app(settings(folder, cache, max_rows=5))) as client:
        ready(client)
        answer = post(client, content(table, JSON))
        said = "6 of store_id, department in one request; at most 5 are allowed, send them in parts"
        assert (answer.status_code, answer.json()["error"]) == (422, said)
        twice = json.loads(content(rows(SEVERAL["series"]).head(DAYS), JSON))
        twice["rows"].append(twice["rows"][0])
        assert post(client, json.dumps(twice).encode()).status_code == 422
