"""A newcomer's file becomes a night by two commands, and a look at the data between them."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
import yaml
from onnx import NodeProto, helper, numpy_helper

from tasks.cli.main import main as nightstill
from tasks.compression.runtime import OUTPUT
from tasks.config.run import Run
from tasks.core.files import read_json, write_json
from tasks.core.params import PARAMS_FILE
from tasks.core.settings import Settings
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tasks.stages import evaluate, promote
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


ACCURACY = {"accuracy/naive", "accuracy/teacher"}


def refused(verdict: dict[str, Any]) -> set[str]:
    """The gates of the foremost candidate that refuse it."""
    return {gate["gate"] for gate in verdict["gates"] if not gate["passed"]}


def says_one_thing(output: str) -> list[NodeProto]:
    """Each quantile's mean over all rows and steps."""
    return [
        helper.make_node("ReduceMean", ["honest", "rows and steps"], ["one"], keepdims=1),
        helper.make_node("Sub", ["honest", "honest"], ["none"]),
        helper.make_node("Add", ["none", "one"], [output]),
    ]


def says_what_another_row_is(output: str) -> list[NodeProto]:
    """The forecast of the row before, which is another series of the same day."""
    return [
        helper.make_node("Slice", ["honest", "-1", "end", "0"], ["last"]),
        helper.make_node("Slice", ["honest", "0", "-1", "0"], ["others"]),
        helper.make_node("Concat", ["last", "others"], [output], axis=0),
    ]


def spoil(context: Context, models: Mapping[str, bytes], bad: Callable[[str], list[NodeProto]]) -> None:
    """Put in each candidate's place its own honest model with a spoilt end."""
    for recipe, data in models.items():
        model = onnx.load_model_from_string(data)
        for node in model.graph.node:
            node.output[:] = ["honest" if name == OUTPUT else name for name in node.output]
        numbers = {"rows and steps": [0, 1], "0": [0], "-1": [-1], "end": [np.iinfo(np.int64).max]}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.array(values), name) for name, values in numbers.items()
        )
        model.graph.node.extend(bad(OUTPUT))
        folder = context.artifacts / "candidates" / recipe
        (folder / "model.onnx").write_bytes(spoilt := model.SerializeToString())
        about = read_json(folder / "about.json") | {"sha256": hashlib.sha256(spoilt).hexdigest()}
        write_json(folder / "about.json", about)


@pytest.mark.parametrize(
    ("make", "name", "last", "further", "said"),
    [
        (newcomers.daily, "shops.csv", newcomers.DAILY_LAST, (), "series: 3 by Filiale"),
        (newcomers.hourly, "sensors.parquet", newcomers.HOURLY_LAST, ("--target", "temperature"), "hour"),
        (newcomers.monthly, "museum.csv", newcomers.MONTHLY_LAST, (), "month"),
    ],
)
def test_a_file_becomes_a_night_that_refuses_bad_models(
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
    context = Context(run, Settings(home=folder / "home", project=folder), folder, folder / "pages")
    verdict = judge(context)
    assert verdict["verdict"] in ("promote", "reject") and len(verdict["gates"]) > 10
    assert "accuracy/naive" not in refused(verdict), "an honest model is as good as repeating the season"
    candidates = context.artifacts / "candidates"
    honest = {recipe: (candidates / recipe / "model.onnx").read_bytes() for recipe in run.recipes}
    for bad in (says_one_thing, says_what_another_row_is) if "series:" in said else (says_one_thing,):
        spoil(context, honest, bad)
        evaluate.run(context)
        verdict = read_json(context.artifacts / "evaluation" / "verdict.json")
        assert verdict["verdict"] == "reject" and refused(verdict) >= ACCURACY, bad


def says_one_class(output: str) -> list[NodeProto]:
    """The mean of all rows' answers."""
    return [
        helper.make_node("ReduceMean", ["honest", "0"], ["one"], keepdims=1),
        helper.make_node("Sub", ["honest", "honest"], ["none"]),
        helper.make_node("Add", ["none", "one"], [output]),
    ]


def test_rows_with_an_outcome_become_a_night_that_is_promoted_and_refuses_bad_models(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = newcomers.customers(folder / "customers.csv")
    assert ended("new", "mine", "--table", str(file)) == 0
    told = capsys.readouterr()
    assert "nightstill run mine\n" in told.out and "target: churned, by its name: yes-no" in told.err
    assert ended("check", "mine", "--data") == 0
    section = yaml.safe_load((folder / "params.yaml").read_text())["workloads"]["mine"]
    section["teachers"]["lightgbm"]["model"].update(trees=60)
    section["students"]["student"]["augment"].update(rows=2000)
    for network in (section["teachers"]["mlp"], *section["students"].values()):
        network["training"].update(epochs=10)
    section["gates"]["latency"].update(rounds=10, max_p50_ratio=1e6, max_p95_ratio=1e6)
    run = Run(**section, workload="mine", as_of=date(2026, 11, 28), champion=0)
    (folder / "run.yaml").write_text(run.to_yaml())
    monkeypatch.chdir(folder)
    settings = Settings(home=folder / "home", project=folder)
    context = Context(run, settings, folder, folder / "pages", run_id="r1")
    verdict = judge(context)
    promote.run(context)
    assert read_json(folder / "artifacts" / "promotion" / "outcome.json")["outcome"] == "promoted", verdict["reason"]
    scores = Scorer(ReleaseStore(settings.releases(), "mine"), "mine").score({"rows": customers(file)}, run.as_of)
    assert scores.columns == ["CustomerId", "p_not Yes", "p_Yes", "predicted"] and len(scores) == 1200
    spoil(context, {"int8-weights": (context.candidates / "int8-weights" / "model.onnx").read_bytes()}, says_one_class)
    evaluate.run(context)
    verdict = read_json(context.artifacts / "evaluation" / "verdict.json")
    assert verdict["verdict"] == "reject" and refused(verdict) >= ACCURACY


def customers(file: Path) -> pl.DataFrame:
    """The file as a user has it who asks about customers, ids as text."""
    return pl.read_csv(file, schema_overrides={"CustomerId": pl.String}).drop("churned")


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
