"""The drill of a regression by the runbook's commands alone, and what a collector of lineage hears of it."""

import json
import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.cli.main import main
from tasks.pipeline.handover import lineage
from tests.unit.watching.shop import START, Shop, by_leak, by_weekday

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program, which must succeed. Returns what it says, in one line."""

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = "".join(capsys.readouterr())
        assert ended.value.code == 0, said
        return " ".join(said.split())

    return call


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path, on_regression="rollback")
    for name, value in shop.settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NIGHTSTILL_TRACKING_URI", "http://127.0.0.1:9")  # an MLflow that is down stops no drill
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return shop


def day(offset: int) -> date:
    return START + timedelta(days=offset)


def evening(shop: Shop, run: Run, offset: int, *arguments: str) -> str:
    shop.table(day(offset)).write_parquet(shop.settings.project / "sales.parquet")
    return run(arguments[0], "sales", *arguments[1:], "--as-of", str(day(offset)))


def test_a_regression_is_seen_rolled_back_and_over_by_the_runbooks_commands(
    shop: Shop, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.release(by_weekday(), START)
    for offset in range(3):
        evening(shop, run, offset, "score", "--keep")
    assert "FINE no regression" in evening(shop, run, 3, "watch")
    shop.release(by_leak(), day(3))
    assert re.search(r"champion\W+2|2\W+.*champion", run("release", "list", "sales"))
    transport = {"TYPE": "file", "LOG_FILE_PATH": str(tmp_path / "events.jsonl"), "APPEND": "true"}
    for name, value in transport.items():
        monkeypatch.setenv(f"OPENLINEAGE__TRANSPORT__{name}", value)
    monkeypatch.setattr(lineage, "PATIENCE_SECONDS", 300.0)
    for offset in range(3, 8):
        evening(shop, run, offset, "score", "--keep")
    said = evening(shop, run, 8, "watch")
    assert "ROLLED-BACK" in said and "release 1 is champion again" in said
    listed = run("release", "list", "sales")
    assert "rollback" in listed and "evidence" in listed
    assert "evidence/2-" in shop.releases.ledger.entries()[-1].reason
    assert "hold" in (verified := run("release", "verify", "sales")), verified
    check_lineage(shop, [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()])
    # Somebody insists on the bad release, then goes back by hand.
    run("release", "rollback", "sales", "--to", "2", "--reason", "we want it back")
    assert "REGRESSION" in evening(shop, run, 8, "watch")
    run("release", "rollback", "sales", "--reason", "it is worse after all", "--run-id", "drill")
    evening(shop, run, 8, "score", "--keep")
    assert "FINE" in evening(shop, run, 9, "watch")


def check_lineage(shop: Shop, told: list[dict[str, Any]]) -> None:
    """Each score and the watch say which release's bytes they are about."""
    ends = [one for one in told if one["eventType"] == "COMPLETE"]
    assert [one["job"]["name"] for one in ends] == ["score_sales"] * 5 + ["watch_sales"]
    score, watch = ends[0], ends[-1]
    release = shop.releases.release(2)
    read = {one["name"]: one["facets"]["version"]["datasetVersion"] for one in score["inputs"]}
    kept = json.loads((Path(shop.settings.forecasts) / "sales" / str(day(3)) / "2.json").read_text())
    assert read == {"sales/releases/2": release.manifest_sha256, "sales/tables/series": kept["tables"]["series"]}
    (written,) = score["outputs"]
    assert (written["name"], written["facets"]["version"]["datasetVersion"]) == ("sales/forecasts", kept["sha256"])
    assert written["facets"]["dataSource"]["uri"].endswith(f"/sales/{day(3)}/2.parquet")
    assert [one["name"] for one in watch["inputs"]] == ["sales/forecasts", "sales/tables/series"]
    assert [one["name"] for one in watch["outputs"]] == ["sales/outcomes"]
