"""Nights under real Airflow that are refused, late, overtaken, held, of the past, or given up."""

import contextlib
import shutil
import threading
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pytest

from dags.project import safe_run_id
from tasks.releases.pins import pin, unpin
from tasks.releases.store import ReleaseStore
from tests.e2e.conftest import TIMEZONE, Night, wait

pytestmark = [pytest.mark.timeout(2400)]  # whichever is the first waits for two nights

KINDS = ("json", "parquet")


def test_a_rejected_candidate_is_a_result_that_operations_hear_of(installation: Any, first: Any) -> None:
    events = installation.asset_events()
    with installation.changed(installation.project.sales["gates"]["accuracy"], "limit", 0.0001):
        night = installation.night("--as-of", str(installation.yesterday))
    assert (night.code, night.state) == (0, "success"), night.output
    assert night.outcome["outcome"] == "rejected"
    assert night.states.pop("announce") == "skipped"
    assert night.scored_before
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
    code, said = installation.nightstill("show", "sales", "--run-id", night.run_id)
    assert code == 0 and "expectations failed" in said
    # The page of the night says where it stopped.
    assert night.statuses["report"] == "partial"
    page = installation.store.page("sales", night.run_id, "report", "report.html")
    assert page is not None and b"validate" in page
    assert installation.releases() == [1]
    # Nobody is given forecasts that are made of bad data.
    assert {name.partition("/")[0] for name in installation.kept()} == {str(installation.yesterday)}

    # The data are mended: its tasks are cleared, and the snapshot is taken anew.
    asked = {"dry_run": False, "dag_run_id": night.run_id, "task_ids": ["snapshot", "validate"], "only_failed": False}
    installation.airflow.api("POST", "/dags/nightly_sales/clearTaskInstances", asked)
    cleared = wait("the cleared tasks", lambda: installation.ended(night.run_id))
    for name in ("snapshot", "validate"):
        assert (cleared.states[name], cleared.tasks[name]["try_number"]) == ("success", 2)
    assert cleared.manifests["snapshot"].reason == f"runs: validate of run {night.run_id} refused its data"


def test_a_night_that_failed_after_its_data_were_valid_ends_with_forecasts_too(installation: Any, first: Any) -> None:
    with installation.changed(installation.project.sales["gates"]["segments"], "by", ["nothing"]):
        night = installation.night("--as-of", str(installation.yesterday))
    assert (night.code, night.state) == (1, "failed"), night.output
    assert night.states["evaluate"] == "failed"
    assert {night.states[name] for name in ("promote", "announce")} == {"upstream_failed"}
    assert night.states["score"] == "success" and night.scored_before
    assert [told["event"] for told in installation.notifications(night.run_id)] == ["failed"]


def test_a_backfilled_night_scores_its_own_day_and_so_does_its_consumer(installation: Any, first: Any) -> None:
    day, done = installation.due - timedelta(days=1), len(installation.over("score_sales"))
    window = [f"--from-date={installation.due}", f"--to-date={installation.due + timedelta(days=1)}"]
    command = ["backfill", "create", "--dag-id=nightly_sales", *window, "--max-active-runs=1"]
    wait("the backfill", partial(accepted, installation, command))
    night = wait("the night of the past", partial(backfilled, installation))
    assert night.state == "success"
    assert night.outcome["outcome"] == "promoted"
    forecasts = night.forecasts()
    assert (forecasts["as_of"], forecasts["release"]) == (str(day), 2)
    # Its consumer, which the new release starts, may be the first of both to score that day.
    assert forecasts["status"] in ("done", "finished-before")
    assert forecasts["table"]["date"].min() == day + timedelta(days=1)
    (event,) = [event for event in installation.asset_events() if event["source_run_id"] == night.airflow_run_id]
    assert event["extra"]["as_of"] == str(day)
    runs = wait("another scoring run", partial(installation.over, "score_sales", done + 1))
    assert {scoring["state"] for scoring in runs} == {"success"}
    last = installation.yesterday
    assert installation.kept() == [
        f"{each}/{number}.{kind}" for each, number in ((day, 2), (last, 1)) for kind in KINDS
    ]


def backfilled(installation: Any) -> Any:
    """The night that a backfill made, once it has ended."""
    for one in installation.runs("nightly_sales"):
        if one["run_type"] == "backfill" and one["state"] in ("success", "failed"):
            return Night(installation, one["dag_run_id"], 0, "")
    return None


def test_superseded_and_held_nights_end_with_forecasts_of_the_champion(installation: Any, first: Any) -> None:
    """The champion is that of the past day; the candidates are those of the first night, whose training is reused."""
    day, known = str(installation.yesterday), {run["run_id"] for run in installation.store.runs("sales")}
    assert installation.releases()[-1] == 2
    releases = ReleaseStore(installation.settings.releases(), "sales")
    nights: list[Any] = []
    thread = threading.Thread(target=lambda: nights.append(installation.night("--as-of", day)))
    thread.start()
    wait("an open run", lambda: {run["run_id"] for run in installation.store.runs("sales")} - known)
    pin(releases, "somebody looks at it meanwhile")
    thread.join()
    (superseded,) = nights
    held = installation.night("--as-of", day)
    unpin(releases, "somebody has looked at it")
    for night, outcome, status in ((superseded, "superseded", "done"), (held, "held", "finished-before")):
        assert (night.code, night.state) == (0, "success"), night.output
        assert night.outcome["outcome"] == outcome
        assert night.states["announce"] == "skipped"
        forecasts = night.forecasts()
        assert (forecasts["as_of"], forecasts["release"], forecasts["status"]) == (day, 2, status)
        assert [told["event"] for told in installation.notifications(night.run_id)] == [outcome]
    assert installation.kept()[-4:] == [f"{day}/{number}.{kind}" for number in (1, 2) for kind in KINDS]


def test_a_file_that_is_late_is_waited_for_without_a_worker(installation: Any, unpunctual: Any) -> None:
    belated, _ = unpunctual
    dag_id = f"nightly_{belated}"
    wait("a pause", lambda: installation.task(dag_id, belated, "fresh")["state"] == "deferred")
    assert installation.task(dag_id, belated, "plan")["state"] in (None, "none")
    written = installation.project.root / "belated.tmp"
    shutil.copy(installation.project.root / "sales.parquet", written)
    written.rename(written.with_suffix(".parquet"))

    def ended() -> str | None:
        state: str = installation.airflow.api("GET", f"/dags/{dag_id}/dagRuns/{belated}")["state"]
        return state if state in ("success", "failed") else None

    assert wait("the end of the belated night", ended) == "success"
    # Its networks are refused, so there is no champion to make forecasts: nothing to wake anybody for.
    assert installation.task(dag_id, belated, "score")["state"] == "skipped"
    assert [told["event"] for told in installation.notifications(belated)] == ["rejected"]
    assert installation.kept(belated) == []


def test_data_that_never_come_are_one_message(installation: Any, unpunctual: Any) -> None:
    _, missing = unpunctual
    dag_id = f"nightly_{missing}"
    wait("the end", lambda: installation.airflow.api("GET", f"/dags/{dag_id}/dagRuns/{missing}")["state"] == "failed")
    states = {name: installation.task(dag_id, missing, name)["state"] for name in ("fresh", "plan", "report", "score")}
    assert states == {"fresh": "failed", **dict.fromkeys(("plan", "report", "score"), "upstream_failed")}
    messages = installation.notifications(missing)
    assert [(told["event"], told["task"]) for told in messages] == [("late data", "fresh")], messages
    told = messages[0]
    assert "missing.parquet: no such file; waited for until " in told["reason"]
    # What an operator looks at then.
    code, said = installation.nightstill("fresh", missing)
    assert code == 4 and "missing.parquet: no such file" in said
    code, said = installation.nightstill("nights", missing)
    assert code == 0 and "red" in said and "late data at fresh: missing.parquet" in said


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
    assert task["state"] != "success"
    failed = installation.store.failure("absent", absent, "snapshot")
    assert failed is not None and failed.exit_code == 75
    # One message at the end, which a slow machine may have reached by now, not one for each attempt.
    events = [told["event"] for told in installation.notifications(absent)]
    assert {*events} <= {"late", "failed"} and len(events) == len({*events})
    installation.stop("nightly_absent", absent)


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
