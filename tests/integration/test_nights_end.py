"""`nightstill run` ends with the champion's forecasts, whatever became of the candidate, or says why there are none."""

import json
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
import yaml

from tasks.cli.main import main
from tasks.core.settings import Settings
from tasks.releases.store import ReleaseStore
from tests.conftest import LAST_DAY, Project, sales_table
from tests.serving_releases import promote_tables

CHECK = """
import json, os, pathlib, sys
import polars as pl
if pl.read_parquet("artifacts/snapshot/tables/series.parquet")["units"].min() < 0:
    told = json.dumps({"error": "units below zero", "exit_code": 65})
    (pathlib.Path(os.environ["NIGHTSTILL_PAGES"]) / "error.json").write_text(told)
    sys.exit(65)
pathlib.Path("artifacts/validation").mkdir()
pathlib.Path("artifacts/validation/result.json").write_text("{}")
"""


@pytest.fixture
def run(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a night of two stages, the second a check of ours, and returns its exit code and its line of forecasts."""
    pipeline = yaml.safe_load((project.root / "dvc.yaml").read_text())
    validate = {"cmd": "python check.py", "deps": ["check.py", "artifacts/snapshot"], "outs": ["artifacts/validation"]}
    stages = {"snapshot": pipeline["stages"]["snapshot"], "validate": validate}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({**pipeline, "stages": stages}))
    (project.root / "check.py").write_text(CHECK)
    for name, value in Settings(home=project.home, project=project.root).environment().items():
        monkeypatch.setenv(name, value)

    def call(run_id: str, as_of: date = LAST_DAY) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["run", "sales", "--as-of", str(as_of), "--run-id", run_id])
        told = capsys.readouterr().out.splitlines()
        assert isinstance(ended.value.code, int)
        return ended.value.code, "\n".join(line for line in told if line.startswith("Forecasts "))

    return call


def test_a_night_ends_with_forecasts_or_says_why_not(project: Project, run: Any) -> None:
    assert run("first") == (0, "Forecasts none: sales: no release yet, so nothing to score with")

    settings = Settings(home=project.home, project=project.root)
    promote_tables(
        ReleaseStore(settings.releases(), "sales"), project.sales["problem"], sales_table(LAST_DAY), LAST_DAY
    )
    code, said = run("second")
    assert code == 0 and f"sales/{LAST_DAY}/1.json: 336 rows of release 1, as of {LAST_DAY}: kept" in said
    kept = project.home / "forecasts" / "sales" / str(LAST_DAY)
    made = json.loads((kept / "1.json").read_text())
    assert (made["run_id"], made["rows"]) == ("second", 336)
    assert pl.read_parquet(kept / "1.parquet")["date"].min() == LAST_DAY + timedelta(days=1)

    project.table(LAST_DAY, lambda table: table.with_columns(units=-pl.col("units")))
    code, said = run("bad", LAST_DAY - timedelta(days=1))
    assert code == 65 and said.startswith("Forecasts none: run bad of sales: its data were not found valid")
    assert len(list(kept.parent.rglob("*.parquet"))) == 1
