"""A newcomer's file becomes a night by two commands, and a look at the data between them."""

import shutil
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.cli.main import main as nightstill
from tasks.config.run import Run
from tasks.core.params import PARAMS_FILE
from tasks.core.settings import Settings
from tasks.stages.context import Context
from tests import newcomers
from tests.in_process import judge

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, as far as these commands read it."""
    for name in (PARAMS_FILE, "dvc.yaml"):
        shutil.copy(PROJECT / name, tmp_path / name)
    monkeypatch.setenv("NIGHTSTILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    return tmp_path


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


@pytest.mark.parametrize(
    ("make", "name", "last", "further", "said"),
    [
        (newcomers.daily, "shops.csv", newcomers.DAILY_LAST, (), "series: 3 by Filiale"),
        (newcomers.hourly, "sensors.parquet", newcomers.HOURLY_LAST, ("--target", "temperature"), "hour"),
        (newcomers.monthly, "museum.csv", newcomers.MONTHLY_LAST, (), "month"),
    ],
)
def test_a_file_becomes_a_night(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], Path],
    name: str,
    last: date,
    further: Sequence[str],
    said: str,
) -> None:
    file = make(folder / name)
    assert ended("new", "mine", "--table", str(file), *further) == 0
    told = capsys.readouterr()
    assert f"nightstill run mine --as-of {last}" in told.out and said in told.err
    assert ended("check", "mine", "--data", "--as-of", str(last)) == 0
    assert "the data are valid" in capsys.readouterr().out
    section = yaml.safe_load((folder / "params.yaml").read_text())["workloads"]["mine"]
    assert section["source"]["path"] == name, "relative to the project, as it lies inside"
    quick(section)
    run = Run(**section, workload="mine", as_of=last, champion=0)
    verdict = judge(Context(run, Settings(home=folder / "home", project=folder), folder, folder / "pages"))
    assert verdict["verdict"] in ("promote", "reject") and len(verdict["gates"]) > 10


def test_data_that_break_a_rule_are_told_without_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, as_of = newcomers.daily(folder / "shops.csv"), str(newcomers.DAILY_LAST)
    assert ended("new", "shops", "--table", str(file)) == 0
    file.write_text(file.read_text().replace(f"{as_of};Alm;Süd;", f"{as_of};Alm;Süd;-", 1))
    capsys.readouterr()
    assert ended("check", "shops", "--data", "--as-of", as_of) == 65
    told = capsys.readouterr()
    assert "failed: units: >= 0" in told.out and "1 of " in told.err
    assert "rows, 3 of Filiale, 2025-03-01 to 2026-03-14" in told.out
    assert not list(folder.rglob("*.parquet")), "nothing is kept"


def test_a_dry_run_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params: Path = folder / "params.yaml"
    before, file = params.read_text(), newcomers.monthly(folder / "museum.csv")
    assert ended("new", "museum", "--table", str(file), "--dry-run") == 0
    assert yaml.safe_load(capsys.readouterr().out)["museum"]["problem"]["frequency"] == "1mo"
    assert params.read_text() == before
    assert ended("new", "sales", "--table", str(file)) == 78
