"""This module has what is scored of a night: the rows that peers get too, and the product's own answers to them."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from bench.ranking.exchange import Codes, Rows, flat
from bench.ranking.intervals import BEFORE, RELEASED
from bench.rows.nights import Night
from tasks.distillation.ensemble import saved_weights
from tasks.gates.evaluation_set import EvaluationSet
from tasks.problems.base import Floats
from tasks.problems.ranking import baselines
from tasks.problems.ranking.closed_form import decay, ease, profile
from tasks.problems.ranking.dataset import HISTORY, Histories
from tasks.problems.ranking.metrics import score_ranking

REGULARISATIONS, HALF_LIVES = (30.0, 100.0, 300.0, 1000.0), (3.0, 4.0, 5.0, 8.0)


@dataclass(frozen=True)
class Answer:
    """An Answer has scores (n, items) of the test rows.

    `size`: bytes of what gives them; `seconds`: of the processor, for all that was needed; None where it is next to
    nothing. `about`: what further is told of the model.
    """

    scores: Floats
    size: int | None = None
    seconds: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def histories(night: Night) -> Histories:
    """Return the night's rows."""
    dataset = night.dataset()
    assert isinstance(dataset, Histories)
    return dataset


def rows_of(dataset: Histories, *, refit: bool = False) -> Rows:
    """Return what peers may see: every learned event with one before it is a training row. `refit`: for a last fit."""
    sequences = dataset.sequences(dataset.splits["train"])
    learned, starts = flat(sequences)
    length = dataset.contract.inputs[HISTORY][1][0]
    before, came = [], []
    for sequence in sequences:
        padded = np.concatenate([np.zeros(length, np.int64), sequence])
        before.append(np.lib.stride_tricks.sliding_window_view(padded, length)[1 : len(sequence)])
        came.append(sequence[1:])
    valid, test = (dataset.splits[name] for name in ("valid", "test"))
    valid_had, valid_bounds = flat(_had(dataset, valid))
    test_had, test_bounds = flat(_had(dataset, test))
    again = dataset.newest() if refit else None
    newest, newest_starts = flat(again.sequences(again.splits["train"]) if again else [])
    return Rows(
        items=np.array([dataset.size]),
        learned=learned,
        starts=starts,
        newest=newest,
        newest_starts=newest_starts,
        history=np.concatenate(before),
        came=np.concatenate(came),
        valid_history=dataset.inputs(valid)[HISTORY],
        valid_had=valid_had,
        valid_bounds=valid_bounds,
        valid_came=dataset.codes[dataset.asked[valid]],
        test_history=dataset.inputs(test)[HISTORY],
        test_had=test_had,
        test_bounds=test_bounds,
    )


def _had(dataset: Histories, rows: Codes) -> list[Codes]:
    return [np.flatnonzero(line == -1) + 1 for line in dataset.target(rows)]


def simple(dataset: Histories) -> Mapping[str, Answer]:
    """Return the baselines of every report, without their EASE."""
    test = dataset.splits["test"]
    return {name: Answer(answer(test)) for name, answer in baselines.simple(dataset).items()}


def eases(dataset: Histories, *, refit: bool = False) -> Iterator[tuple[str, Answer]]:
    """Yield EASE of all that a user had, and of a history that decays; options are chosen on validation.

    `refit`: then both are computed again with the events that validated.
    """
    begun = time.process_time()
    pairs, length = dataset.pairs(), dataset.contract.inputs[HISTORY][1][0]
    valid, test = dataset.splits["valid"], dataset.splits["test"]
    products = {regularisation: ease(pairs, regularisation) for regularisation in REGULARISATIONS}

    def had(rows: Codes) -> Floats:
        found: Floats = (dataset.target(rows) == -1).astype(np.float32)
        return found

    def decayed(rows: Codes, half_life: float) -> Floats:
        return profile(dataset.inputs(rows)[HISTORY], decay(length, half_life), dataset.size)

    newest = dataset.newest().pairs() if refit else None

    def product_of(regularisation: float) -> Floats:
        return products[regularisation] if newest is None else ease(newest, regularisation)

    def error(profiles: Floats, regularisation: float) -> float:
        return score_ranking(profiles @ products[regularisation], dataset.target(valid)).error

    given = had(valid)
    best = min(REGULARISATIONS, key=lambda regularisation: error(given, regularisation))
    size = products[best].nbytes
    yield "EASE", Answer(had(test) @ product_of(best), size, time.process_time() - begun, {"settings": {"l2": best}})
    offered = {half_life: decayed(valid, half_life) for half_life in HALF_LIVES}
    half_life, best = min(product(HALF_LIVES, REGULARISATIONS), key=lambda pair: error(offered[pair[0]], pair[1]))
    scores = decayed(test, half_life) @ product_of(best)
    settings = {"half_life": half_life, "l2": best}
    yield "EASE, decayed", Answer(scores, size, time.process_time() - begun, {"settings": settings})


def ours(night: Night) -> Iterator[tuple[str, Answer]]:
    """Yield the teachers' ensemble, the twin, the student, what is released, and what was before a last fit."""
    run, artifacts, seconds = night.context.run, night.context.artifacts, night.seconds()
    evaluation = EvaluationSet(night.problem, histories(night))
    teachers = artifacts / "teachers"
    weights = saved_weights(evaluation.problem, evaluation.dataset, teachers, run.teachers, run.ensemble)
    files = {name: (teachers / name / "teacher.onnx").read_bytes() for name in run.teachers}
    outputs = [evaluation.run(data) for data in files.values()]
    told = sum(spent for stage, spent in seconds.items() if stage.startswith("teach@"))
    about = {"settings": dict(zip(files, weights or (), strict=False))}
    yield "teachers", Answer(evaluation.problem.ensemble(outputs, weights), sum(map(len, files.values())), told, about)
    for name, student in sorted(run.students.items(), key=lambda item: -item[1].alpha):
        data = (artifacts / "students" / name / "student.onnx").read_bytes()
        role = "twin" if student.alpha == 1 else "student"
        spent = seconds[f"distil@{name}"]
        told += 0.0 if role == "twin" else spent
        yield role, Answer(evaluation.run(data), len(data), spent if role == "twin" else told)
    for name in run.recipes:
        data = (artifacts / "candidates" / name / "model.onnx").read_bytes()
        told += seconds[f"compress@{name}"]
        yield BEFORE if run.refit else RELEASED, Answer(evaluation.run(data), len(data), told)
    for name in run.code.refit:
        data = (night.context.candidates / name / "model.onnx").read_bytes()
        yield RELEASED, Answer(evaluation.run(data), len(data), told + seconds[f"refit@{name}"])
