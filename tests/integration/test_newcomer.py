"""A newcomer's file becomes a night by two commands, and a look at the data between them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.cli.main import main as nightstill
from tasks.pipeline.handover.queries import read_verdict
from tests import newcomers
from tests.integration.test_nights import Nights


@pytest.fixture
def nights(project: Any, monkeypatch: pytest.MonkeyPatch) -> Nights:
    monkeypatch.setenv("NIGHTSTILL_HOME", str(project.home))
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(project.root))
    return Nights(project, {})


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        nightstill([*arguments])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def quick(section: dict[str, Any]) -> None:
    """As proposed, but trained for less long."""
    section["teachers"]["lightgbm"]["model"].update(trees=20, samples=5000)
    networks = (section["teachers"]["mlp"], *section["students"].values())
    for network in networks:
        network["training"].update(epochs=3, batches_per_epoch=20)
    section["recipes"]["smallest"]["search"]["trials"] = 3


@pytest.mark.timeout(900)
def test_daily_sales_in_a_file_become_a_night(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    root: Path = nights.project.root
    file, as_of = newcomers.daily(root / "shops.csv"), str(newcomers.DAILY_LAST)
    assert ended("new", "shops", "--table", str(file)) == 0
    told = capsys.readouterr()
    assert f"nightstill run shops --as-of {as_of}" in told.out and "series: 3 by Filiale" in told.err
    assert ended("check", "shops", "--data", "--as-of", as_of) == 0
    assert "the data are valid" in capsys.readouterr().out
    nights.project.params = yaml.safe_load((root / "params.yaml").read_text())
    section = nights.project.params["workloads"]["shops"]
    assert section["source"]["path"] == "shops.csv", "relative to the project, as it lies inside"
    quick(section)
    codes = nights.night("night", newcomers.DAILY_LAST, "shops")
    assert set(codes.values()) == {0}, nights.logs("night")
    verdict = read_verdict(nights.settings, "shops", "night")
    assert verdict is not None and verdict["verdict"] in ("promote", "reject")


def test_data_that_break_a_rule_are_told_without_a_run(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    file, as_of = newcomers.daily(nights.project.root / "shops.csv"), str(newcomers.DAILY_LAST)
    assert ended("new", "shops", "--table", str(file)) == 0
    file.write_text(file.read_text().replace(f"{as_of};Alm;Süd;", f"{as_of};Alm;Süd;-", 1))
    capsys.readouterr()
    assert ended("check", "shops", "--data", "--as-of", as_of) == 65
    told = capsys.readouterr()
    assert "failed: units: >= 0" in told.out and "1 of " in told.err
    assert "rows, 3 of Filiale, 2025-03-01 to 2026-03-14" in told.out
    assert not list(nights.project.home.rglob("*.parquet")), "nothing is kept"


def test_a_dry_run_writes_nothing(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    params: Path = nights.project.root / "params.yaml"
    before, file = params.read_text(), newcomers.monthly(nights.project.root / "museum.csv")
    assert ended("new", "museum", "--table", str(file), "--dry-run") == 0
    assert yaml.safe_load(capsys.readouterr().out)["museum"]["problem"]["frequency"] == "1mo"
    assert params.read_text() == before
    assert ended("new", "sales", "--table", str(file)) == 78
