"""Nights of a small project under real Airflow, started as `make run` starts them."""

import contextlib
import hashlib
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.error import HTTPError

import polars as pl
import pytest
import yaml

from dags.project import safe_run_id
from tasks.releases.store import ReleaseStore
from tasks.tracking.runs import connected
from tests.e2e.conftest import TIMEZONE, wait

pytestmark = [pytest.mark.timeout(1200)]

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
    assert event["extra"] == {"manifest": result["uri"], "sha256": result["sha256"]}

    def scored() -> list[dict[str, Any]]:
        return [scoring for scoring in installation.runs("score_sales") if scoring["end_date"]]

    (scoring,) = wait("the scoring run", scored)
    assert (scoring["state"], scoring["run_type"]) == ("success", "asset_triggered")
    scores = pl.read_parquet(installation.home / "forecasts" / "sales" / f"{installation.yesterday}.parquet")
    days = [installation.yesterday + timedelta(days=ahead) for ahead in range(1, 29)]
    assert scores["date"].unique().sort().to_list() == days
    assert scores["series_id"].n_unique() == 12 and scores.height == 12 * 28
    assert installation.notifications(first.run_id) == []


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
    assert installation.asset_events() == events
    assert installation.releases() == [1]
    assert installation.notifications(night.run_id) == []


def test_a_rejected_candidate_is_a_result_that_operations_hear_of(installation: Any, first: Any) -> None:
    limits = installation.project.sales["gates"]["accuracy"]
    before, events = limits["limit"], installation.asset_events()
    limits["limit"] = 0.0001
    installation.project.save()
    try:
        night = installation.night("--as-of", str(installation.yesterday))
    finally:
        limits["limit"] = before
        installation.project.save()
    assert (night.code, night.state) == (0, "success"), night.output
    assert night.outcome["outcome"] == "rejected"
    assert night.states.pop("announce") == "skipped"
    assert "promote                      success, done, rejected" in night.output
    assert installation.asset_events() == events
    assert installation.releases() == [1]
    (told,) = installation.notifications(night.run_id)
    assert (told["event"], told["task"]) == ("rejected", "announce")
    assert night.xcom("promote")["uri"] in told["reason"]


def test_bad_data_stops_at_validate_once_and_for_all(installation: Any, first: Any) -> None:
    installation.table(lambda table: table.with_columns(units=-pl.col("units")))
    try:
        night = installation.night("--as-of", str(installation.yesterday - timedelta(days=5)))
    finally:
        installation.table()
    assert (night.code, night.state) == (1, "failed"), night.output
    ran = {"plan", "snapshot", "report"}
    assert {name for name, state in night.states.items() if state == "success"} == ran
    assert night.states["validate"] == "failed"
    behind = set(night.states) - ran - {"validate"}
    assert {night.states[name] for name in behind} == {"upstream_failed"}
    assert night.tasks["validate"]["max_tries"] == 3 and night.tasks["validate"]["try_number"] == 1

    (told,) = installation.notifications(night.run_id)
    assert (told["event"], told["task"], told["attempt"]) == ("failed", "validate", "1")
    assert "bad data (exit code 65)" in told["reason"] and "units" in told["reason"]
    assert told["reason"] in told["text"] and "\n" not in told["text"]
    log = next(line for line in night.output.splitlines() if "validate" in line and " log: " in line).split(" log: ")[1]
    assert "units" in Path(log).read_text()
    # The page of the night says where it stopped.
    assert night.statuses["report"] == "partial"
    page = installation.store.page("sales", night.run_id, "report", "report.html")
    assert page is not None and b"validate" in page
    assert installation.releases() == [1]

    # The data are mended: its tasks are cleared, and the snapshot is taken anew.
    asked = {"dry_run": False, "dag_run_id": night.run_id, "task_ids": ["snapshot", "validate"], "only_failed": False}
    installation.airflow.api("POST", "/dags/nightly_sales/clearTaskInstances", asked)
    cleared = wait("the cleared tasks", lambda: installation.ended(night.run_id))
    for name in ("snapshot", "validate"):
        assert (cleared.states[name], cleared.tasks[name]["try_number"]) == ("success", 2)
    assert cleared.manifests["snapshot"].reason == f"runs: validate of run {night.run_id} refused its data"


def test_a_backfill_is_of_the_days_before_and_an_operator_can_stop_it(installation: Any) -> None:
    last = installation.yesterday
    window = [f"--from-date={last - timedelta(days=1)}", f"--to-date={last + timedelta(days=1)}"]
    command = ["backfill", "create", "--dag-id=nightly_silent", *window, "--max-active-runs=1"]
    wait("the backfill", partial(accepted, installation, command))
    for day in (last - timedelta(days=1), last):
        one = wait(f"a stage of the night of {day}", partial(stage_of_the_night, installation, day))
        name = safe_run_id(one["dag_run_id"])
        assert installation.store.run_info("silent", name)["as_of"] == str(day - timedelta(days=1))
        # Its source never answers: an operator gives it up, and nothing of it goes on.
        installation.stop("nightly_silent", one["dag_run_id"])
        wait("the end of its processes", partial(all_gone, name))
        assert installation.store.manifest("silent", name, "snapshot") is None


def accepted(installation: Any, command: list[str]) -> bool:
    """Whether Airflow took it; SQLite may refuse a writer while others write, and Airflow then undoes the whole."""
    done: CompletedProcess[str] = installation.local("services", "airflow", *command)
    assert done.returncode == 0 or "database is locked" in done.stderr, done.stdout + done.stderr
    return done.returncode == 0


def stage_of_the_night(installation: Any, day: date) -> dict[str, Any] | None:
    """The backfill's run of that logical day, once one of its stages has a process."""
    for one in installation.runs("nightly_silent"):
        if datetime.fromisoformat(one["logical_date"]).astimezone(TIMEZONE).date() == day:
            assert one["run_type"] == "backfill"
            return one if stage_processes(safe_run_id(one["dag_run_id"])) else None
    return None


def test_a_workload_that_there_is_none_of_is_refused_at_once(installation: Any) -> None:
    done = installation.local("night", "tales")
    assert done.returncode == 64
    assert "error: params.yaml has no workload 'tales'; it has: absent, sales, silent" in done.stderr


def test_a_source_that_does_not_answer_is_asked_again_and_a_late_night_is_told(installation: Any, absent: str) -> None:
    def late() -> list[dict[str, str]]:
        return [told for told in installation.notifications(absent) if told["event"] == "late"]

    (told,) = wait("the missed deadline", late)
    assert told["text"] == "nightstill absent: late: not finished 1 minutes after its time (run absent)"

    def second_attempt() -> dict[str, Any] | None:
        path = f"/dags/nightly_absent/dagRuns/{absent}/taskInstances/snapshot"
        task: dict[str, Any] = installation.airflow.api("GET", path)
        return task if task["try_number"] > 1 else None

    task = wait("a second attempt", second_attempt)
    assert task["state"] not in ("failed", "success")
    failed = installation.store.failure("absent", absent, "snapshot")
    assert failed is not None and failed.exit_code == 75
    # One message at the end, not one for each attempt.
    assert {told["event"] for told in installation.notifications(absent)} == {"late"}
    installation.stop("nightly_absent", absent)


def test_an_operator_goes_back_to_the_former_release(installation: Any, first: Any) -> None:
    releases = ReleaseStore(installation.settings.releases(), "sales")
    champion = releases.release()
    files = {name: releases.read(champion, name) for name in releases.files(champion)}
    files["card.md"] += b"\nReleased by hand.\n"
    newer = releases.publish(
        files, expected=champion.seq, run_id="by-hand", as_of=installation.yesterday, reason="another card"
    )
    scored, events = len(installation.runs("score_sales")), len(installation.asset_events())
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
    assert event["extra"] == {"outcome": "rolled-back", "run_id": "back", "reason": back.reason}
    wait("another scoring run", lambda: len(installation.runs("score_sales")) > scored)
    with connected(installation.settings.tracking_uri) as client:
        version = client.get_model_version_by_alias("nightstill-sales", "champion")
        assert version.tags["release"] == str(champion.release)


def all_gone(run_id: str) -> bool:
    return not stage_processes(run_id)


def stage_processes(run_id: str) -> list[int]:
    """Processes of the commands of a run's stages."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"NIGHTSTILL_RUN_ID={run_id}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
