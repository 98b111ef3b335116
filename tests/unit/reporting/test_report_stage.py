"""The stage: pages are written whatever happened before, and whatever MLflow does."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import UnavailableError
from tasks.core.settings import Settings
from tasks.pipeline.handover.run_store import RunStore
from tasks.stages import report
from tasks.stages.context import Context
from tasks.tracking.runs import Tracking

PROJECT = Path(__file__).parents[3]


class Mlflow:
    """Takes the place of the tracking server."""

    def __init__(self, down: bool = False) -> None:
        self.down = down
        self.logged: dict[str, Any] = {}
        self.synced = 0

    def log_run(self, tracking: Tracking, experiment: str, run_id: str, **parts: Any) -> str:
        if self.down:
            raise UnavailableError(f"MLflow at {tracking.uri}: connection refused")
        self.logged = {"experiment": experiment, "run_id": run_id, **parts}
        return "id"

    def sync(self, *_: Any) -> list[str]:
        self.synced += 1
        return []


@pytest.fixture
def stage(
    night: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Context, Mlflow]]:
    """Runs the stage in a workspace made of a good night's artifacts."""

    def start(down: bool = False, run_id: str = "night-1", artifacts: bool = True) -> tuple[Context, Mlflow]:
        material = night()
        if not artifacts:
            shutil.rmtree(material.artifacts)
        shutil.copy(PROJECT / "dvc.yaml", tmp_path)
        settings = Settings(home=tmp_path / "home")
        store = RunStore(settings.runs())
        for item in material.manifests.values():
            store.finish(item, None)
        store.store.write("runs/sales/night-1/pages/evaluate/latency.json", material.pages["evaluate", "latency.json"])
        mlflow = Mlflow(down)
        monkeypatch.setattr(report, "log_run", mlflow.log_run)
        monkeypatch.setattr(report, "sync", mlflow.sync)
        monkeypatch.setenv("NIGHTSTILL_GIT_COMMIT", "ea858fa")
        ctx = Context(run=run, settings=settings, root=tmp_path, pages=tmp_path / "pages", run_id=run_id)
        report.run(ctx)
        return ctx, mlflow

    return start


def test_page_card_and_mlflow(stage: Any) -> None:
    ctx, mlflow = stage()
    page = (ctx.pages / "report.html").read_text()
    assert "Promoted" in page and "ea858fa" in page and "18.4 µs" in page
    assert (ctx.pages / "model-card.md").read_text().startswith("# Retail sales, 28 days ahead: fp16")
    logged = mlflow.logged
    assert (logged["experiment"], logged["run_id"], mlflow.synced) == ("nightstill-sales", "night-1", 1)
    assert logged["metrics"]["wape"] == logged["metrics"]["fp16/wape"] == 0.4213
    assert logged["metrics"]["teacher/bytes"] == 2948211.0
    assert {"baseline.popularity_ 7 days/wape", "baseline.popularity_ 28 days/wape"} <= logged["metrics"].keys()
    assert logged["metrics"]["seconds/teach.lstm"] == 61.2
    assert len(logged["curves"]["valid_error/teacher lstm fold 2"]) == 11
    assert {"report.html", "model-card.md", "verdict.json", "plots/pareto.svg"} <= set(logged["artifacts"])
    assert logged["params"]["teachers.lstm.model.hidden"] == "128"
    assert logged["tags"]["lineage.git commit"] == "ea858fa"
    names = [*logged["metrics"], *logged["curves"], *logged["tags"], *logged["params"]]
    assert all(c.isalnum() or c in "_-. :/" for name in names for c in name)  # what MLflow allows


def test_unreachable_mlflow_is_a_note_on_the_page_and_worth_a_retry(
    stage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UnavailableError, match="connection refused"):
        stage(down=True)
    assert (tmp_path / "pages" / "report.summary.json").is_file()
    page = (tmp_path / "pages" / "report.html").read_text()
    assert "connection refused" in page and "Promoted" in page
    assert "connection refused" in caplog.text


def test_without_a_run_id_only_the_workspace_is_read(stage: Any) -> None:
    ctx, mlflow = stage(run_id="")
    assert "Promoted" in (ctx.pages / "report.html").read_text()
    assert mlflow.logged == {} and mlflow.synced == 1


def test_without_artifacts_there_is_a_page_and_no_card(stage: Any) -> None:
    ctx, _ = stage(artifacts=False)
    assert "Stopped" in (ctx.pages / "report.html").read_text()
    assert not (ctx.pages / "model-card.md").exists()
