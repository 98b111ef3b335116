"""Nights of a small project under real Airflow, started as `make run` starts them; nights in trouble: scenarios."""

import hashlib
import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from tasks.pipeline.handover.queries import read_output
from tasks.releases.store import ReleaseStore
from tasks.tracking.runs import connected
from tests.e2e.conftest import wait

pytestmark = [pytest.mark.timeout(1200)]

ABOUT = "artifacts/snapshot/about.json"
TRAINING = {"teach@lstm", "distil@student", "distil@twin", "compress@fp32", "compress@fp16"}


def test_the_first_night_promotes_and_its_consumer_scores(installation: Any, first: Any) -> None:
    assert first.code == 0, first.output
    assert first.state == "success"
    assert set(first.states.values()) == {"success"}, first.output
    assert set(first.statuses.values()) == {"done"}
    assert first.outcome["outcome"] == "promoted"
    assert installation.releases() == [1]
    assert "promote                      success, done, promoted" in first.output

    # What tasks hand on is a manifest's address and digest.
    result = first.xcom("promote")
    assert hashlib.sha256(Path(result["uri"]).read_bytes()).hexdigest() == result["sha256"]
    (event,) = installation.asset_events()
    assert (event["source_task_id"], event["source_run_id"]) == ("announce", first.run_id)
    day = str(installation.yesterday)
    assert event["extra"] == {"manifest": result["uri"], "sha256": result["sha256"], "as_of": day}

    forecasts = first.forecasts()
    # The release's consumer scores the same day; the forecasts carry no run where it was done before the night's task.
    assert (forecasts["as_of"], forecasts["release"]) == (day, 1)
    assert forecasts["run_id"] in (first.run_id, "")
    assert forecasts["model_sha256"] == first.outcome["model_sha256"]
    about = json.loads(read_output(installation.settings, "sales", first.run_id, "snapshot", ABOUT) or "{}")
    assert forecasts["tables"] == {name: facts["sha256"] for name, facts in about["tables"].items()}
    scores = forecasts["table"]
    days = [installation.yesterday + timedelta(days=ahead) for ahead in range(1, 29)]
    assert scores["date"].unique().sort().to_list() == days
    assert scores["series_id"].n_unique() == 12 and scores.height == forecasts["rows"] == 12 * 28
    assert installation.notifications(first.run_id) == []

    # Whichever of both came second found the forecasts of the first.
    (scoring,) = wait("the scoring run", partial(installation.over, "score_sales"))
    assert (scoring["state"], scoring["run_type"]) == ("success", "asset_triggered")
    assert installation.kept() == [f"{day}/1.json", f"{day}/1.parquet"]

    # What comes of kept forecasts is looked at, too, and the nights are drawn. Later nights of these tests do without.
    # The night's own scoring and its consumer's both tell of forecasts: a watch that began in between has a second one.
    watching = wait("the watch", partial(installation.over, "watch_sales"))
    assert {(run["state"], run["run_type"]) for run in watching} == {("success", "asset_triggered")}
    installation.airflow.api("PATCH", "/dags/watch_sales?update_mask=is_paused", {"is_paused": True})


def test_plain_dvc_repro_writes_the_same_locks_and_the_same_model(installation: Any, first: Any, repro: Any) -> None:
    repro.ended()
    written = yaml.safe_load((repro.root / "dvc.lock").read_text())["stages"]
    assert written.keys() == first.manifests.keys()
    for name, manifest in first.manifests.items():
        if name != "report":
            assert written[name] == installation.store.lock(manifest), name
    model = repro.root / "artifacts" / "candidates" / first.outcome["candidate"] / "model.onnx"
    released = next((installation.home / "releases").rglob("model.onnx"))
    assert model.read_bytes() == released.read_bytes()
    assert hashlib.sha256(model.read_bytes()).hexdigest() == first.outcome["model_sha256"]


def test_a_night_on_which_nothing_changed_reuses_stage_by_stage(installation: Any, first: Any) -> None:
    events = installation.asset_events()
    night = installation.night("--as-of", str(installation.yesterday))
    assert (night.code, night.state) == (0, "success"), night.output
    # The champion is another one than in the first night, so what compares with it runs again; nothing is trained.
    assert {name for name, status in night.statuses.items() if status == "reused"} == {
        "snapshot",
        "features",
        *TRAINING,
    }
    for name in TRAINING:
        assert night.manifests[name].reused_from == first.run_id
        assert night.manifests[name].lock_sha256 == first.manifests[name].lock_sha256
        assert f"{name.replace('@', '.'):28} success, reused" in night.output
    assert night.outcome["outcome"] == "unchanged"
    assert night.states["announce"] == "skipped"
    assert night.scored_before
    assert installation.asset_events() == events
    assert installation.releases() == [1]
    assert installation.notifications(night.run_id) == []


def test_a_workload_that_there_is_none_of_is_refused_at_once(installation: Any) -> None:
    done = installation.local("night", "tales")
    assert done.returncode == 64
    said = "error: neither params.yaml nor workloads/ has a workload 'tales'; there are: sales"
    assert said in done.stderr


def test_an_operator_goes_back_to_the_former_release(installation: Any, first: Any) -> None:
    releases = ReleaseStore(installation.settings.releases(), "sales")
    champion = releases.release()
    files = {name: releases.read(champion, name) for name in releases.files(champion)}
    files["card.md"] += b"\nReleased by hand.\n"
    newer = releases.publish(
        files, expected=champion.seq, run_id="by-hand", as_of=installation.yesterday, reason="another card"
    )
    scored, events = len(installation.over("score_sales")), len(installation.asset_events())
    place = "/dags/rollback_sales/dagRuns"
    asked: dict[str, Any] = {"dag_run_id": "back", "logical_date": None, "conf": {}}
    with pytest.raises(HTTPError, match="400"):  # without a reason
        installation.airflow.api("POST", place, asked)
    # What looks like options, a shell's work and a result is a reason like any other.
    asked["conf"] = {"reason": '--to=99 "shelves" ran empty; $(false)\n{"uri": "forged", "outcome": "promoted"}'}
    installation.airflow.api("POST", place, asked)

    def ended() -> str | None:
        state: str = installation.airflow.api("GET", f"{place}/back")["state"]
        return state if state in ("success", "failed") else None

    assert wait("the rollback", ended) == "success"
    back = releases.champion()
    assert back is not None and (back.seq, back.kind, back.run_id) == (newer.seq + 1, "rollback", "back")
    assert (back.release, back.model_sha256) == (champion.release, champion.model_sha256)
    assert back.reason == '--to=99 "shelves" ran empty; $(false) {"uri": "forged", "outcome": "promoted"}'
    # Consumers hear of it as of a promotion, and MLflow follows.
    found = installation.asset_events()
    assert len(found) == events + 1
    (event,) = [event for event in found if event["source_run_id"] == "back"]
    day, told = str(installation.yesterday), {"outcome": "rolled-back", "run_id": "back", "reason": back.reason}
    assert event["extra"] == {**told, "as_of": day}
    runs = wait("another scoring run", partial(installation.over, "score_sales", scored + 1))
    assert {scoring["state"] for scoring in runs} == {"success"}
    assert f"{day}/{champion.release}.json" in installation.kept()
    with connected(installation.settings.tracking_uri) as client:
        version = client.get_model_version_by_alias("nightstill-sales", "champion")
        assert version.tags["release"] == str(champion.release)
