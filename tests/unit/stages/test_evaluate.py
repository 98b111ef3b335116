"""What the evaluate stage says beside a champion: its own contract's inputs, and drift since its release."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.config import Spec
from tasks.core.files import write_json
from tasks.core.settings import Settings
from tasks.problems.base import Dataset
from tasks.problems.models import build_model
from tasks.releases.store import ReleaseStore
from tasks.stages import evaluate
from tasks.stages.context import Context

PROJECT = Path(__file__).parents[3]


class Nights:
    """Workspaces just before evaluation, and the release store that they share."""

    def __init__(self, root: Path, sales: Any) -> None:
        self.root = root
        self.sales = sales
        self.settings = Settings(home=root / "home", project=PROJECT)

    def run(
        self, name: str, champion: int, *, price: float = 1.0, drift: float | None = None, **options: Any
    ) -> Context:
        """Evaluate one night whose prices are `price` times those of the first."""
        context = Context(
            self._run(champion, drift, options), self.settings, self.root / name, self.root / name / "pages"
        )
        table = self.sales.table().with_columns(price=pl.col("price") * price).collect()
        folder = context.artifacts
        (folder / "snapshot" / "tables").mkdir(parents=True)
        table.write_parquet(folder / "snapshot" / "tables" / "series.parquet")
        dataset = self.sales.problem(**options).features({"series": table.lazy()}, self.sales.as_of)
        dataset.save(folder / "features")
        model = _model(dataset)
        about = {"valid_error": 0.3, "sha256": hashlib.sha256(model).hexdigest(), "parity": {"relative": 0.0}}
        for path in ("teachers/only/teacher.onnx", "students/student/student.onnx", "candidates/fp32/model.onnx"):
            (folder / path).parent.mkdir(parents=True)
            (folder / path).write_bytes(model)
            write_json((folder / path).parent / "about.json", about)
        np.save(folder / "teachers" / "only" / "soft.npy", np.zeros((1, 5, 3), np.float32))
        evaluate.run(context)
        return context

    def release(self, context: Context) -> None:
        """Make the night's candidate champion, with the files that the gates read later."""
        folder = context.artifacts
        paths = {
            "model.onnx": folder / "candidates" / "fp32" / "model.onnx",
            "contract.json": folder / "features" / "contract.json",
            "profile.json": folder / "evaluation" / "profile.json",
        }
        ReleaseStore(self.settings.releases(), "sales").publish(
            {name: path.read_bytes() for name, path in paths.items()},
            expected=context.run.champion,
            run_id=context.root.name,
            as_of=context.run.as_of,
            reason="a test",
        )

    def _run(self, champion: int, drift: float | None, options: dict[str, Any]) -> Run:
        section = load_workload(PROJECT / "params.yaml", "sales").model_dump(mode="json")
        teacher = {"model": {"kind": "linear-mlp"}}
        gates = section["gates"]
        gates["accuracy"] |= {"limit": 100, "naive_margin": 0, "retention": 100, "max_gain": 1, "resamples": 200}
        gates["segments"] |= {"by": ["store_id"], "min_rows": 1}
        gates["latency"] |= {"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6}
        gates["drift"] = {"max_psi": drift}
        section |= {
            "problem": {"kind": "forecasting", **self.sales.options, **options},
            "teachers": {"only": teacher},
            "ensemble": "mean",
            "students": {"student": section["students"]["student"]},
            "recipes": {"fp32": {}},
        }
        return Run(**section, workload="sales", as_of=self.sales.as_of, champion=champion)


def _model(dataset: Dataset) -> bytes:
    torch.manual_seed(0)
    network = build_model(Spec(kind="linear-mlp", hidden=4), dataset.contract)
    return export_onnx(network, dataset.contract, dataset.inputs(dataset.splits["test"]))


def found(context: Context, name: str) -> Any:
    return json.loads((context.artifacts / "evaluation" / name).read_text())


@pytest.fixture
def nights(tmp_path: Path, sales: Any) -> Nights:
    return Nights(tmp_path, sales)


def test_a_champion_of_another_context_is_measured_and_drift_is_told_and_gated(nights: Nights) -> None:
    first = nights.run("first", 0, context=21, static=["store_id"])
    assert found(first, "drift.json") == {"note": "", "lines": []}
    nights.release(first)

    same = nights.run("same", 1, drift=0.25)
    champion = next(model for model in found(same, "verdict.json")["models"] if model["role"] == "champion")
    before = next(model for model in found(first, "verdict.json")["models"] if model["role"] == "candidate")
    assert champion["error"] == before["error"], "the same bytes on the same rows, though tonight's inputs are others"
    lines = found(same, "drift.json")["lines"]
    assert {line["level"] for line in lines} == {"none"}
    assert {line["name"] for line in lines if line["kind"] == "prediction"} == {"p10", "p50", "p90", "mean"}
    assert {"units", "price", "store_id"} <= {line["name"] for line in lines}
    rows = json.loads((same.pages / "latency.json").read_text())["models"]
    assert [row["batch"] for row in rows if row["model"] == "champion"] == [1, 1024], "measured with its own inputs"

    dear = nights.run("dear", 1, price=4.0, drift=0.25)
    assert found(dear, "drift.json")["lines"][0] | {"psi": 0, "ks": 0} == {
        "name": "price",
        "kind": "input",
        "psi": 0,
        "ks": 0,
        "level": "large",
    }
    refused = {gate["gate"] for gate in found(dear, "verdict.json")["gates"] if not gate["passed"]}
    assert "drift/inputs" in refused
    assert "drift/inputs" not in {gate["gate"] for gate in found(same, "verdict.json")["gates"] if not gate["passed"]}
    summary = json.loads((dear.pages / "evaluate.summary.json").read_text())
    assert summary["drift"].startswith("input price: large (")

    ungated = nights.run("ungated", 1, price=4.0)
    assert not any(gate["gate"].startswith("drift") for gate in found(ungated, "verdict.json")["gates"])


def test_a_champion_whose_columns_are_gone_refuses_every_candidate(nights: Nights) -> None:
    first = nights.run("first", 0)
    nights.release(first)
    contract = json.loads((first.artifacts / "features" / "contract.json").read_text())
    contract["settings"]["options"]["promotions"] = ["promo_radio"]
    (first.artifacts / "features" / "contract.json").write_text(json.dumps(contract))
    second = nights.run("second", 1)
    assert found(second, "verdict.json")["comparison"]["champion"]["difference"] is not None
    other = Nights(nights.root / "other", nights.sales)
    other.release(first)
    verdict = found(other.run("night", 1), "verdict.json")
    assert verdict["verdict"] == "reject"
    notes = [gate["note"] for gate in verdict["gates"] if gate["gate"] == "accuracy/champion"]
    assert all("its inputs need promo_radio, which tonight's table does not have" in note for note in notes) and notes


def test_equal_nights_leave_equal_files(nights: Nights) -> None:
    nights.release(nights.run("first", 0))
    one, two = nights.run("one", 1), nights.run("two", 1)
    for name in ("drift.json", "profile.json"):
        assert len({(night.artifacts / "evaluation" / name).read_bytes() for night in (one, two)}) == 1
