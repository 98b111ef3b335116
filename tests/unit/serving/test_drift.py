"""How far what the service is asked, and answers, is from what the release was made on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from serving.service.app import make_app
from serving.service.drift import MEMORY, ROWS, Asked, Field
from tasks.releases.store import ReleaseStore
from tests.serving_releases import inputs, promote
from tests.unit.serving.test_service import settings, until

QUANTILES = [float(place) for place in range(200)]
NUMBERS = {"missing": 0.0, "quantiles": QUANTILES, "shares": None}
CITIES = {"missing": 0.0, "quantiles": [], "shares": {"Rome": 0.5, "Oslo": 0.3, "(other)": 0.2}}


def model_of(**profile: Any) -> Any:
    """As much of a model as is asked of it."""
    return SimpleNamespace(files={"profile.json": json.dumps(profile).encode()}, release=SimpleNamespace(number=7))


def indices(asked: Asked) -> dict[str, float]:
    return {name: index for _, name, index in asked.indices()}


def test_the_same_numbers_have_no_drift_and_others_do() -> None:
    same, moved = Field(NUMBERS), Field(NUMBERS)
    same.see(pl.Series(QUANTILES))
    moved.see(pl.Series(QUANTILES) + 100)
    assert same.index() == pytest.approx(0, abs=1e-9) and moved.index() > 1


def test_categories_and_missing_values_count() -> None:
    same, other = Field(CITIES), Field(CITIES)
    same.see(pl.Series(["Rome"] * 50 + ["Oslo"] * 30 + ["Bonn", "Paris"] * 10))
    other.see(pl.Series(["Rome"] * 50 + ["Oslo"] * 30 + [None] * 20))
    assert same.index() == pytest.approx(0, abs=1e-9) and other.index() > 1
    gaps = Field(NUMBERS)
    gaps.see(pl.Series([*QUANTILES, *[None] * 100]))
    assert gaps.index() > 1


def test_a_column_of_another_kind_is_let_be_and_few_values_say_nothing() -> None:
    field = Field(NUMBERS)
    field.see(pl.Series(["a"] * 1000))
    field.see(pl.Series([1.0, 2.0]))
    assert np.isnan(field.index())


def test_what_was_asked_long_ago_fades() -> None:
    field = Field(NUMBERS)
    field.see_numbers(np.full(MEMORY, 1e6))
    before = field.index()
    for _ in range(4 * MEMORY // 200_000):
        field.see_numbers(np.repeat(QUANTILES, 1000))
    assert field.index() < before / 4


def test_large_tables_are_looked_at_in_part_and_a_new_release_begins_anew() -> None:
    asked, first = Asked(), model_of(inputs={"items.price": NUMBERS}, predictions={})
    table = pl.DataFrame({"price": np.tile(QUANTILES, 100), "unknown": "x"})
    asked.see_tables(first, {"items": table}, several=True)
    assert indices(asked)["items.price"] < 0.2
    assert asked._columns["items.price"]._counts.sum() == ROWS
    asked.see_tables(model_of(inputs={"price": NUMBERS}, predictions={}), {"items": table[:10]}, several=False)
    assert indices(asked) == {}


@pytest.mark.parametrize("profile", [{}, {"inputs": {"price": {}}}, {"inputs": []}])
def test_a_release_without_a_profile_that_can_be_read_has_no_drift(profile: Any) -> None:
    asked = Asked()
    asked.see_tables(model_of(**profile) if profile != [] else model_of(), {"t": pl.DataFrame({"price": [1]})}, False)
    asked.see_output(model_of(), np.zeros((0, 3), np.float32))
    assert indices(asked) == {}


@pytest.fixture
def client(releases: ReleaseStore, folder: Path, cache: Path) -> Iterator[Callable[[float], dict[str, float]]]:
    """Ask a service whose outputs were between 0 and 199 when the release was made, for numbers about so high."""
    outputs = {f"q{place}": NUMBERS for place in range(3)}
    promote(releases, 1, **{"profile.json": json.dumps({"inputs": {}, "predictions": outputs}).encode()})
    with TestClient(make_app(settings(folder, cache))) as asking:
        until(lambda: asking.get("/readyz").status_code == 200)

        def ask(highest: float) -> dict[str, float]:
            given = inputs(60)
            given["x"] = np.linspace(-20, highest, 360, dtype=np.float32).reshape(60, 2, 3)
            sent = {name: values.tolist() for name, values in given.items()}
            assert asking.post("/v1/predict", json={"inputs": sent}).status_code == 200
            found = text_string_to_metric_families(asking.get("/metrics").text)
            (family,) = [one for one in found if one.name == "nightstill_drift"]
            assert {sample.labels["kind"] for sample in family.samples} <= {"prediction"}
            return {sample.labels["field"]: sample.value for sample in family.samples}

        yield ask


def test_metrics_show_the_drift_of_answers(client: Callable[[float], dict[str, float]]) -> None:
    found = client(180)
    assert set(found) == {"q0", "q1", "q2"} and max(found.values()) < 0.25
    assert min(client(100_000).values()) > 0.25
