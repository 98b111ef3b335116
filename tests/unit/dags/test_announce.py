"""The last task of a night: the asset moves only after a promotion, and operations hear of a refusal."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from dags.announce import AnnounceOperator

MANIFEST = {"uri": "/store/runs/sales/r/promote.json", "sha256": "ab", "status": "done", "outcome": "promoted"}


class TaskInstance(SimpleNamespace):
    """The part of Airflow's that `announce` and the notifier ask for."""

    def xcom_pull(self, task_ids: str) -> Any:
        return self.xcoms.get(task_ids)


def announce(result: Any) -> tuple[Any, Any]:
    """What the task returns, and the asset event's extra."""
    asset = Asset("nightstill://releases/sales")
    task = AnnounceOperator(
        task_id="announce", workload="sales", promote_task_id="promote", as_of="2026-06-29", outlets=[asset]
    )
    context: Any = {
        "ti": TaskInstance(xcoms={"promote": result}, task_id="announce", try_number=1, log_url="http://airflow/log"),
        "dag_run": SimpleNamespace(run_id="scheduled__2026-06-30T01:00:00+00:00"),
        "outlet_events": OutletEventAccessors(),
    }
    returned = task.execute(context)
    return returned, context["outlet_events"][asset].extra


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, str]]]:
    """What was written to the notification file."""
    path = tmp_path / "told.jsonl"
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", f"file:{path}")
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_promotion_updates_the_asset(told: Callable[[], list[dict[str, str]]]) -> None:
    returned, extra = announce(MANIFEST)
    assert returned == MANIFEST
    assert extra == {"manifest": MANIFEST["uri"], "sha256": "ab", "as_of": "2026-06-29"}
    assert told() == []


@pytest.mark.parametrize("outcome", ["rejected", "superseded", "held"])
def test_a_refused_candidate_is_told_and_leaves_the_asset_alone(
    outcome: str, told: Callable[[], list[dict[str, str]]]
) -> None:
    with pytest.raises(AirflowSkipException, match=f"{outcome}: no new release of sales"):
        announce({**MANIFEST, "outcome": outcome})
    (message,) = told()
    assert (message["event"], message["workload"], message["task"]) == (outcome, "sales", "announce")
    assert message["run_id"] == "scheduled__2026-06-30T01-00-00-00-00"
    assert MANIFEST["uri"] in message["reason"]
    assert datetime.fromisoformat(message["time"]).tzinfo is not None


@pytest.mark.parametrize("outcome", ["unchanged", "dry-run"])
def test_no_news_is_not_told(outcome: str, told: Callable[[], list[dict[str, str]]]) -> None:
    with pytest.raises(AirflowSkipException, match=f"{outcome}: no new release"):
        announce({**MANIFEST, "outcome": outcome})
    assert told() == []


@pytest.mark.parametrize("result", [None, {"uri": "u", "sha256": "s", "status": "done"}])
def test_a_promotion_without_an_outcome_is_an_error(result: Any) -> None:
    with pytest.raises(AirflowFailException, match="promote handed over no outcome"):
        announce(result)
