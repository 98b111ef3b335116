"""Stage evaluate gates the exact bytes of every candidate against teachers, naive baseline and champion."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.compression.runtime import OnnxModel
from tasks.compression.timing import machine, measure
from tasks.core.files import read_json, write_json
from tasks.distillation.ensemble import saved_weights
from tasks.gates.champion import Champion, measure_champion
from tasks.gates.drift import (
    Profile,
    drift_json,
    drift_line,
    drift_since,
    profile_inputs,
    profile_json,
    profile_outputs,
)
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.findings import MeasuredModel, examples_json, foremost, segments_json, verdict_json
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.robustness import one_line
from tasks.gates.verdict import Verdict, decide
from tasks.problems import get_problem
from tasks.problems.base import Floats, Raw, Score
from tasks.problems.contracts import contract_from_json
from tasks.releases.store import INPUT_EXAMPLE, PROFILE, ReleaseStore
from tasks.stages.context import Context

log = logging.getLogger(__name__)

LATENCY_BATCHES = (1, 1024)
LATENCY_ROUNDS = 3
TEACHER = "teacher "


def run(ctx: Context, name: str | None = None) -> None:
    """Write verdict.json, segments.json, examples.json, profile.json, drift.json and, of a winner, input_example.json.

    Measured times go to the pages.
    """
    problem, gates, seed = get_problem(ctx.run.problem), ctx.run.gates, ctx.run.seed
    dataset = problem.load(ctx.artifacts / "features")
    raw = Raw(ctx.tables(), ctx.run.as_of)
    evaluation = EvaluationSet(problem, dataset, threads=gates.latency.threads, raw=raw)
    naive = evaluation.naive()
    teacher = _teachers(ctx, evaluation)
    champion = _champion(ctx, evaluation)
    inputs = profile_inputs(raw, problem.tables())
    opponents = Opponents(
        naive=evaluation.score(naive),
        teacher=None if teacher is None else evaluation.score(teacher),
        champion=champion,
        drift=drift_since(ctx.run.champion, _released(ctx, PROFILE), inputs, _predictions(evaluation, champion.output)),
    )
    candidates = [_candidate(ctx.candidates / made, made) for made in (*ctx.run.recipes, *ctx.run.code.refit)]
    verdict = decide(candidates, evaluation, opponents, gates, seed)
    log.info("%s: %s", "promote" if verdict.winner else "reject", verdict.reason)
    models = _models(ctx, verdict, opponents, _students(ctx, evaluation), evaluation.baselines())
    folder = ctx.artifacts / "evaluation"
    findings = verdict_json(verdict, opponents, models, evaluation, gates, seed)
    write_json(folder / "verdict.json", findings)
    write_json(folder / "segments.json", segments_json(verdict, opponents, evaluation, gates))
    leader = foremost(verdict)
    predictions = _predictions(evaluation, leader.output if leader else None)
    write_json(folder / PROFILE, profile_json(inputs, predictions or {}))
    write_json(folder / "drift.json", drift_json(opponents.drift))
    curves = {"teacher": teacher, "naive": naive, "champion": champion.output}
    write_json(folder / "examples.json", examples_json(verdict, curves, evaluation))
    if verdict.winner:
        write_json(folder / INPUT_EXAMPLE, _example(verdict.winner.candidate.model, evaluation))
    write_json(ctx.pages / "latency.json", _latency(ctx, verdict, champion, evaluation))
    _summarise(ctx, findings, verdict, opponents)


def _teachers(ctx: Context, evaluation: EvaluationSet) -> Floats | None:
    """Return the ensemble's outputs; None, which refuses all candidates, if a member cannot be run."""
    try:
        folder, names, how = ctx.artifacts / "teachers", ctx.run.teachers, ctx.run.ensemble
        weights = saved_weights(evaluation.problem, evaluation.dataset, folder, names, how)
        outputs = (_output(ctx, name, evaluation) for name in ctx.run.teachers)
        return evaluation.problem.ensemble(outputs, weights)
    except Exception as error:  # noqa: BLE001 refuses all candidates
        log.warning("the teachers cannot be measured: %s", one_line(error))
        return None


def _students(ctx: Context, evaluation: EvaluationSet) -> Mapping[str, Score | None]:
    """Return the scores of the students and the twin before compression; None for one that cannot be run."""
    scores: dict[str, Score | None] = {}
    for name in ctx.run.students:
        try:
            model = (ctx.artifacts / "students" / name / "student.onnx").read_bytes()
            scores[name] = evaluation.score(evaluation.run(model))
        except Exception as error:  # noqa: BLE001 it gates nothing
            log.warning("student %s cannot be measured: %s", name, one_line(error))
            scores[name] = None
    return scores


def _teacher(ctx: Context, name: str) -> bytes:
    return (ctx.artifacts / "teachers" / name / "teacher.onnx").read_bytes()


def _as_read_by(ctx: Context, name: str, evaluation: EvaluationSet) -> EvaluationSet:
    """Return the rows as a teacher reads them: a kept one as on the day when it was trained."""
    contract = ctx.artifacts / "teachers" / name / "contract.json"
    return evaluation.under(contract_from_json(read_json(contract))) if contract.is_file() else evaluation


def _output(ctx: Context, name: str, evaluation: EvaluationSet) -> Floats:
    rows = _as_read_by(ctx, name, evaluation)
    output = rows.run(_teacher(ctx, name))
    return output if rows is evaluation else evaluation.dataset.answers(rows.dataset.contract)(output)


def _predictions(evaluation: EvaluationSet, output: Floats | None) -> Profile | None:
    return None if output is None else profile_outputs(output, evaluation.problem.output_names)


def _released(ctx: Context, name: str) -> bytes | None:
    """Return a file of the champion's release."""
    return ReleaseStore(ctx.settings.releases(), ctx.run.workload).champion_file(ctx.run.champion, name)


def _champion(ctx: Context, evaluation: EvaluationSet) -> Champion:
    model, contract = (_released(ctx, file) for file in ("model.onnx", "contract.json"))
    champion = measure_champion(ctx.run.champion, model, contract, evaluation)
    if champion.note:
        log.warning("%s", champion.note)
    return champion


def _example(model: bytes | None, evaluation: EvaluationSet) -> dict[str, Any]:
    """Return one row of the model's inputs, for people who open the release in MLflow."""
    return {name: evaluation.sample[name][:1].tolist() for name in OnnxModel(model or b"").names}


def _candidate(folder: Path, recipe: str) -> Candidate:
    model = folder / "model.onnx"
    return Candidate(recipe, model.read_bytes() if model.is_file() else None, _about(folder))


def _about(folder: Path) -> Mapping[str, Any]:
    """Return about.json, empty if it is missing or no JSON object."""
    try:
        data = read_json(folder / "about.json")
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, Mapping) else {}


def _models(
    ctx: Context,
    verdict: Verdict,
    opponents: Opponents,
    students: Mapping[str, Score | None],
    baselines: Mapping[str, Score],
) -> list[MeasuredModel]:
    """Return one line each for naive, other baselines, teachers, students, champion and candidates."""
    members = [_about(ctx.artifacts / "teachers" / name) for name in ctx.run.teachers]
    models = [
        MeasuredModel("naive", "naive", opponents.naive),
        *(MeasuredModel(name, "baseline", score) for name, score in baselines.items()),
        MeasuredModel(
            "ensemble",
            "teacher",
            opponents.teacher,
            sum(int(about.get("parameters", 0)) for about in members),
            sum(int(about.get("bytes", 0)) for about in members),
        ),
    ]
    for name, student in ctx.run.students.items():
        about = _about(ctx.artifacts / "students" / name)
        role = "twin" if student.alpha == 1 else "student"
        models.append(_model(name, role, students[name], about, about.get("bytes")))
    champion = opponents.champion
    if not champion.absent:
        size = None if champion.model is None else len(champion.model)
        models.append(MeasuredModel(f"entry {champion.sequence}", "champion", champion.score, bytes=size))
    for item in verdict.ranked:
        candidate = item.candidate
        size = None if candidate.model is None else len(candidate.model)
        models.append(_model(candidate.name, "candidate", item.score, candidate.about, size))
    return models


def _model(name: str, role: str, score: Any, about: Mapping[str, Any], size: int | None) -> MeasuredModel:
    return MeasuredModel(name, role, score, about.get("parameters"), size, about.get("valid_error"))


def _latency(ctx: Context, verdict: Verdict, champion: Champion, evaluation: EvaluationSet) -> dict[str, Any]:
    """Return the gates' own times, and those of the foremost candidate, the champion and the teachers by batch."""
    rule = ctx.run.gates.latency
    gated = [{"model": item.candidate.name, **item.latency.to_json()} for item in verdict.ranked if item.latency]
    leader = foremost(verdict)
    models = {leader.candidate.name: leader.candidate.model} if leader else {}
    models |= {f"{TEACHER}{name}": _teacher(ctx, name) for name in ctx.run.teachers}
    models |= {"champion": champion.model} if champion.score is not None else {}
    figures = []
    for name, model in models.items():
        for batch in LATENCY_BATCHES:
            try:
                inputs = champion.sample if name == "champion" else evaluation.sample
                if name.startswith(TEACHER):
                    inputs = _as_read_by(ctx, name.removeprefix(TEACHER), evaluation).sample
                # One call a round: three of each large teacher were a third of the stage's time.
                found = measure(model or b"", inputs, batch=batch, threads=rule.threads, rounds=LATENCY_ROUNDS, least=1)
            except Exception as error:  # noqa: BLE001 it gates nothing
                log.warning("latency of %s at batch %d: %s", name, batch, one_line(error))
            else:
                figures.append({"model": name, **found.to_json()})
    return {"machine": machine(), "threads": rule.threads, "rounds": rule.rounds, "gates": gated, "models": figures}


def _summarise(ctx: Context, findings: Mapping[str, Any], verdict: Verdict, opponents: Opponents) -> None:
    leader = foremost(verdict)
    errors = {
        "naive_error": opponents.naive,
        "teacher_error": opponents.teacher,
        "champion_error": opponents.champion.score,
    }
    ctx.summary(
        "evaluate",
        {
            **{
                key: findings[key]
                for key in ("verdict", "winner", "winner_sha256", "reason", "champion", "primary_metric")
            },
            "error": _number(leader.score.error) if leader and leader.score else None,
            **{name: _number(score.error) if score else None for name, score in errors.items()},
            "gates": [result.to_json() for result in leader.results] if leader else [],
            "bytes": len(leader.candidate.model or b"") if leader else None,
            "weights": leader.candidate.about.get("parameters") if leader else None,
            "latency_ratio": _number(leader.latency.ratio_p50) if leader and leader.latency else None,
            **{f"against_{name}": _interval(findings, name) for name in ("naive", "champion")},
            "drift": drift_line(opponents.drift),
            "drift_psi": max((_number(line.psi) or 0 for line in opponents.drift.lines), default=None),
        },
    )


def _interval(findings: Mapping[str, Any], opponent: str) -> tuple[float, float] | None:
    """Return the interval of the foremost candidate's error relative to an opponent's."""
    found = (findings["comparison"] or {}).get(opponent)
    return None if not found or found["low"] is None else (found["low"], found["high"])


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
