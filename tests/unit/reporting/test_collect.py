"""Facts from what stages left behind, and how a run's end is told."""

import json
from typing import Any

import pytest

from tasks.reporting.collect import Material, collect
from tasks.reporting.facts import Headline


def test_a_whole_run(night: Any) -> None:
    facts = collect(night())
    assert facts.headline == Headline("promoted", "fp16 passes all 10 gates and is not worse than ledger entry 3")
    assert (facts.release, facts.champion, facts.metric, facts.band) == (4, 3, "WAPE", "80%")
    assert facts.chosen is not None and (facts.chosen.name, facts.chosen.p50_us) == ("fp16", 18.4)
    assert len(facts.models) == 14 and len(facts.pictures) == 4
    assert [curve.name for curve in facts.losses] == ["teacher lstm", "teacher tcn", "student", "student twin"]
    assert facts.losses[0].folds[0].best == 9
    assert facts.data["days"] == "2025-10-26 to 2026-12-18"
    assert facts.comparisons["champion"].high == pytest.approx(-0.0035)
    assert [record.status for record in facts.stages[:2]] == ["reused", "done"]


def test_latency_gates_show_the_ratio_that_the_verdict_withholds(night: Any) -> None:
    rules = {rule.gate: rule for rule in collect(night()).gates[0].rules}
    assert rules["latency/p50"].observed == 0.77


def test_a_step_has_the_time_that_its_recipe_measured(night: Any) -> None:
    steps = [{"step": "student", "p50_us": 33.25}, {"step": "fp16", "p50_us": 31.75}]
    page = {("compress@fp16", "compress@fp16.latency.json"): json.dumps({"machine": {}, "steps": steps}).encode()}
    found = {item.recipe: item.steps for item in collect(night(pages=page)).compression}
    assert [(step.step, step.p50_us) for step in found["fp16"]] == [("student", 33.25), ("fp16", 31.75)]
    assert [step.p50_us for step in found["chain"]] == [None, None], "not measured"


def test_a_failed_stage_beats_everything_else(night: Any, make_manifest: Any) -> None:
    material = night()
    late = {**material.manifests, "promote": make_manifest("promote", "failed", error="promote: the store is down")}
    facts = collect(night(manifests=late))
    assert facts.headline == Headline("stopped", "the store is down", "promote")


def test_the_first_failure_in_pipeline_order_is_named(night: Any, make_manifest: Any) -> None:
    failed = {
        "teach@tcn": make_manifest("teach@tcn", "failed", error="tcn broke"),
        "teach@lstm": make_manifest("teach@lstm", "failed", error="lstm broke"),
    }
    assert collect(night(manifests=failed)).headline == Headline("stopped", "lstm broke", "teach@lstm")


def test_a_killed_stage_is_named(night: Any, tmp_path: Any, make_manifest: Any) -> None:
    material = night(artifacts=tmp_path / "none", manifests={"snapshot": make_manifest("snapshot")})
    headline = collect(material).headline
    assert (headline.outcome, headline.stage) == ("stopped", "validate")
    assert collect(material).stages[1].status == "missing"


def test_failed_validation_is_read_from_the_kept_page(failed_validation: Any) -> None:
    facts = collect(failed_validation)
    assert facts.headline.stage == "validate"
    check = facts.checks[0]
    assert (check.column, check.success, check.count) == ("units", False, 41)


def test_failed_validation_without_a_run_store(run: Any, tmp_path: Any, invalid: bytes) -> None:
    material = Material(run, tmp_path, pages={("validate", "validation.json"): invalid})
    assert collect(material).headline == Headline("stopped", "units: values at least 0: observed 41", "validate")


def test_nothing_at_all(run: Any, tmp_path: Any) -> None:
    facts = collect(Material(run, tmp_path))
    assert facts.headline == Headline("stopped", "no stage has left a result")
    assert (facts.models, facts.gates, facts.checks, facts.stages) == ((), (), (), ())


def test_a_verdict_without_promotion(night: Any) -> None:
    material = night(manifests={}, stages=())
    (material.artifacts / "promotion" / "outcome.json").unlink()
    assert collect(material).headline == Headline(
        "stopped", "the verdict is promote: fp16 passes all 10 gates", "promote"
    )


def test_a_candidate_that_could_not_be_run_is_not_chosen(night: Any) -> None:
    material = night()
    path = material.artifacts / "evaluation" / "verdict.json"
    verdict = json.loads(path.read_text())
    verdict |= {"verdict": "reject", "winner": None, "winner_sha256": None, "comparison": None}
    for model in verdict["models"]:
        if model["name"] == "fp16":
            model["error"] = None
    path.write_text(json.dumps(verdict))
    facts = collect(material)
    assert facts.chosen is not None and facts.chosen.name == "fp32"
    assert facts.comparisons == {}


def test_a_night_of_one_fold_says_that_teachers_labelled_rows_they_had_seen(night: Any, run: Any) -> None:
    said = "not out-of-fold"
    assert not any(said in note for note in collect(night()).notes)
    assert any(said in note for note in collect(night(run=run.model_copy(update={"folds": 1}))).notes)
