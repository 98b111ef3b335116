"""Searches whose best answer is known, whose pruning can be counted, and that are killed on the way."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from tasks.compression.chain import Chain, parse_chain
from tasks.compression.options import Recipe, Search
from tasks.compression.recipe import Compressed, compress
from tasks.compression.runtime import run_onnx
from tasks.compression.search.found import Found
from tasks.compression.search.space import parse_space
from tasks.compression.search.study import Task, plainer, search
from tasks.compression.search.trial import Memory, Rung, Shelf, Trial
from tasks.compression.timing import Latency
from tasks.core.config import Spec
from tasks.problems.base import Batches
from tasks.problems.blocks.outputs import outputs

FREE = 8
"""Hidden neurons of 32 that reach no output: keep 0.75 costs nothing, one neuron fewer does."""
SPACE: list[dict[str, Any]] = [
    {"kind": "neurons", "keep": [0.5, 1.0], "epochs": 0},
    {"kind": "numbers", "choices": ["none", "fp16"]},
]


@dataclass
class Bench:
    """Makes searches over one network, whose error is the mean distance to `target`."""

    network: Any
    contract: Any
    rows: Any
    tuner: Any
    target: Any
    chains: list[Chain] = field(default_factory=list)

    def build(self, chain: Chain) -> Compressed:
        self.chains.append(chain)
        return compress(
            copy.deepcopy(self.network),
            chain,
            self.contract,
            Batches.of(self.rows),
            lambda output: float(np.abs(output - self.target).mean()),
            lambda count: {name: values[:count] for name, values in self.rows.items()},
            self.tuner,
            rounds=0,
        )

    def task(self, settings: dict[str, Any], space: list[dict[str, Any]], **parts: Any) -> Task:
        specs = [Spec.model_validate(entry) for entry in space]
        return Task(
            "smallest",
            Search.model_validate({**settings, "space": space}),
            parse_space("smallest", specs),
            self.build,
            by_size,
            **{"seed": 7, **parts},
        )


def by_size(model: bytes, rounds: int) -> Latency:
    """A machine on which a call takes a microsecond a byte, and the reference 10,000."""
    return Latency(1, len(model), len(model), len(model) / 10_000, len(model) / 10_000, 10_000)


@pytest.fixture
def bench(network: Any, contract: Any, rows: Any, tuner: Any) -> Bench:
    with torch.no_grad():
        network.hidden.bias.fill_(3.0)  # every other neuron is active on every row
        network.output.weight[:, 5 : 5 + FREE] = 0
    return Bench(network, contract, rows, tuner, outputs(network, Batches.of(rows)))


@pytest.fixture
def tuned(network: Any, contract: Any, rows: Any, tuner: Any) -> Bench:
    """The tuner really brings the outputs nearer to this target."""
    return Bench(network, contract, rows, tuner, np.zeros((1, 6), np.float32))


def test_it_finds_the_smallest_file_that_loses_nothing(bench: Bench) -> None:
    found = search(bench.task({"limits": {"error": 1e-5}, "trials": 16}, SPACE))
    assert found.chosen is not None and found.result is not None
    assert [step.model_dump() for step in found.chosen.steps] == [{"kind": "neurons", "keep": 0.75, "epochs": 0}]
    about = found.about()
    assert about["feasible"] is True and about["steps"] == ["neurons"]
    assert about["bytes"] == len(found.result.model) and about["valid_error"] < 1e-5
    assert about["parameters"] == 1750 - FREE * (40 + 1 + 6)
    assert about["search"]["depends_on_clock"] == []


def test_no_point_is_tried_twice_and_a_used_up_space_ends_the_search(bench: Bench) -> None:
    space: list[dict[str, Any]] = [{"kind": "neurons", "keep": [0.5, 0.75, 1.0], "epochs": 0}, SPACE[1]]
    found = search(bench.task({"limits": {"error": 1e-5}, "trials": 30}, space))
    tried = [str(trial.steps) for trial in found.trials]
    assert len(tried) == len(set(tried)) == 6 and not found.cut
    assert found.chosen is not None and found.chosen.steps[0].options["keep"] == 0.75


@pytest.mark.parametrize(
    ("limits", "name", "nearest"),
    [
        ({"error": 1e-5, "bytes": 100}, "bytes", lambda trials: min(t.bytes for t in trials if t.error <= 1e-5)),
        (
            {"error": 1e-5, "parameters": 100},
            "parameters",
            lambda trials: min(t.parameters for t in trials if t.error <= 1e-5),
        ),
        ({"error": 1e-12, "bytes": 1e6}, "error", lambda trials: min(t.error for t in trials)),
        ({"error": 1e-5, "latency_ratio": 1e-3}, "latency_ratio", lambda trials: None),
    ],
)
def test_out_of_reach_it_says_which_limit(bench: Bench, limits: Any, name: str, nearest: Callable[[Any], Any]) -> None:
    bench.target = bench.target + np.float32(1e-7)
    found = search(bench.task({"limits": limits, "trials": 8}, SPACE))
    about = found.about()
    assert found.result is None and about["feasible"] is False and "valid_error" not in about
    (way,) = about["search"]["binding"]
    assert (way["limit"], way["alone"]) == (name, True)
    assert way.get("nearest") == nearest([trial.measured for trial in found.trials])
    assert about["reason"].startswith(f"the search's 8 trials are all over its limits: {name} (limit ")
    assert found.latency_json()["nearest"].keys() == ({name} if name == "latency_ratio" else set())


def test_a_limit_on_parameters_is_kept_by_fewer_neurons(bench: Bench) -> None:
    space: list[dict[str, Any]] = [{"kind": "neurons", "keep": [0.5, 0.6, 0.75, 1.0], "epochs": 0}, SPACE[1]]
    found = search(bench.task({"limits": {"parameters": 1400}, "minimise": "error", "trials": 8}, space))
    assert found.chosen is not None and found.chosen.steps[0].options["keep"] == 0.75
    assert found.about()["parameters"] == 1750 - FREE * (40 + 1 + 6) <= 1400
    larger = [trial for trial in found.trials if trial.measured.parameters > 1400]
    assert larger and all(len(trial.rungs) == 1 for trial in larger), "no training makes it smaller"
    told = {row["number"]: row["parameters"] for row in found.trials_json()["trials"]}
    assert told == {trial.number: trial.measured.parameters for trial in found.trials}


class Cut(Memory):
    """A shelf whose process is killed when it has kept `last` trials."""

    last = 5

    def write(self, key: str, data: bytes) -> None:
        if len(self.objects) == self.last:
            raise KeyboardInterrupt
        super().write(key, data)


TUNED: list[dict[str, Any]] = [{"kind": "neurons", "keep": [0.3, 1.0], "epochs": 3}, SPACE[1]]
HARD: dict[str, Any] = {"limits": {"bytes": 7000}, "minimise": "error", "trials": 12, "reduction": 2}


def winners_epochs(found: Found) -> set[int]:
    """The winner is built as it was in its last rung, and trained to the end."""
    assert found.chosen is not None
    return {found.chosen.rungs[-1].epochs, 3}


def test_a_killed_search_ends_like_one_that_never_was(tuned: Bench) -> None:
    whole = search(tuned.task(HARD, TUNED, seed=6))
    shelf = Cut()
    with pytest.raises(KeyboardInterrupt):
        search(tuned.task(HARD, TUNED, seed=6, shelf=shelf))
    built = len(tuned.chains)
    again = search(tuned.task(HARD, TUNED, seed=6, shelf=Memory(shelf.objects)))
    assert whole.result is not None and again.result is not None
    assert again.result.model == whole.result.model and again.trials_json() == whole.trials_json()
    assert {trial.state for trial in whole.trials[: Cut.last]} == {"complete", "pruned"}, "both kinds were kept"
    later = sum(len(trial.rungs) for trial in whole.trials[Cut.last :])
    finals = len(winners_epochs(whole))
    assert len(tuned.chains) - built == 1 + later + finals, "the student, the trials not yet kept, and the winner"


def test_kept_trials_of_another_search_and_broken_ones_are_not_used(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"limits": {"error": 1e-5}, "trials": 4}
    shelf = Memory()
    first = search(bench.task(settings, SPACE, shelf=shelf))
    other = search(bench.task(settings, SPACE, shelf=Memory(dict(shelf.objects)), seed=8))
    assert "belong to another search" in caplog.text
    assert other.trials_json() == search(bench.task(settings, SPACE, seed=8)).trials_json() != first.trials_json()
    shelf.objects["trial-0002.json"] = b"{"
    assert search(bench.task(settings, SPACE, shelf=shelf)).trials_json() == first.trials_json()
    assert "cannot be read" in caplog.text


def test_a_file_that_is_too_large_is_not_trained(tuned: Bench) -> None:
    found = search(tuned.task({**HARD, "limits": {"bytes": 100}, "trials": 6}, TUNED))
    assert [len(trial.rungs) for trial in found.trials] == [1] * 6
    assert tuned.tuner.calls == []
    trained = [trial for trial in found.trials if trial.full]
    assert {trial.state for trial in trained} == {"pruned"} and found.about()["search"]["epochs_unpruned"] == 3 * len(
        trained
    )


def test_a_file_that_cannot_win_even_within_the_limits_is_not_trained(tuned: Bench) -> None:
    space: list[dict[str, Any]] = [{"kind": "neurons", "keep": [0.3, 0.6, 0.9], "epochs": 3}]
    found = search(tuned.task({"limits": {"error": 0.2}, "trials": 3, "seed": 1}, space))
    told = [(trial.steps[0].options["keep"], trial.spent, trial.state) for trial in found.trials]
    # Each needs an epoch to get within the limit; after the smallest of them the others are not worth it.
    assert told[0] == (0.3, 1, "complete")
    assert told[1:] == [(keep, 0, "pruned") for keep, _, _ in told[1:]] and len(told) == 3


def test_halving_saves_the_epochs_that_it_says(tuned: Bench) -> None:
    found = search(tuned.task(HARD, TUNED, seed=6))
    told = found.about()["search"]
    assert found.chosen is not None
    assert sum(epochs for epochs, _ in tuned.tuner.calls) == told["epochs"] + sum(winners_epochs(found))
    assert told["epochs"] < told["epochs_unpruned"] == 3 * sum(bool(trial.full) for trial in found.trials)
    reached = {trial.rungs[-1].epochs for trial in found.trials if trial.full}
    assert reached == {0, 1, 3}, "some were given up before any training, some after an epoch, some were trained"
    for trial in found.trials:
        assert [rung.epochs for rung in trial.rungs] == [0, 1, 3][: len(trial.rungs)]
        assert trial.spent == sum(rung.epochs for rung in trial.rungs)


def test_what_is_within_the_limits_is_trained_further_only_if_it_wins(tuned: Bench) -> None:
    space = [{"kind": "neurons", "keep": [0.5, 0.9], "epochs": 3}]
    found = search(tuned.task({"limits": {"error": 10.0}, "trials": 5}, space))
    assert [trial.spent for trial in found.trials] == [0] * 5
    assert found.chosen is not None and found.result is not None and tuned.tuner.calls == [(3, 0.3)]
    assert found.result.history[-1].error < found.chosen.measured.error


def test_the_ceiling_ends_the_search_and_counts_the_time_of_kept_trials(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    settings, shelf = {"limits": {"error": 1e-5}, "trials": 6, "minutes": 1}, Memory()

    def clock() -> Callable[[], float]:
        ticks = iter(range(0, 10_000, 13))
        return lambda: float(next(ticks))

    found = search(bench.task(settings, SPACE, clock=clock(), shelf=shelf))
    # It is read at the start, before each trial, and around each: 0; 13, 26, 39; 52, 65, 78; 91 is too late.
    assert found.cut and len(found.trials) == 2 and "stopped by the clock after 2 of 6 trials" in caplog.text
    assert found.about()["search"]["depends_on_clock"] == ["minutes: the ceiling was reached"]
    # Two trials of 13 s are behind it: 26 + 13 leaves time for one more, 26 + 52 does not.
    assert len(search(bench.task(settings, SPACE, clock=clock(), shelf=shelf)).trials) == 3


def test_a_measurement_that_is_refused_at_the_end_leaves_the_next_best(bench: Bench) -> None:
    task = bench.task({"limits": {"error": 1e-5, "latency_ratio": 1.0}, "trials": 8}, SPACE)
    slow: Shelf = Memory()
    best = search(task).trials
    ranked = sorted((t for t in best if t.measured.error <= 1e-5), key=lambda t: t.measured.bytes)

    def latency(model: bytes, rounds: int) -> Latency:
        busy = rounds > 5 and len(model) == ranked[0].measured.bytes
        return Latency(1, 1, 1, 9.0 if busy else 0.5, 1, 1)

    parts = {**vars(task), "latency": latency, "shelf": slow}
    found = search(Task(**parts))
    assert found.chosen is not None and found.chosen.number == ranked[1].number
    assert found.about()["search"]["depends_on_clock"] == ["limits.latency_ratio"]


def test_what_changes_the_student_less_is_taken_unless_the_best_is_surely_better(tuned: Bench) -> None:
    """Training lowers the error here: it is the best, and whether that is sure is another question."""
    space: list[dict[str, Any]] = [{"kind": "neurons", "keep": [0.5, 0.75, 1.0], "epochs": 2}, SPACE[1]]
    asked: list[tuple[bytes, bytes]] = []

    def chosen(answer: bool | None) -> Found:
        def better(model: bytes, other: bytes) -> bool:
            asked.append((model, other))
            return bool(answer)

        parts = {} if answer is None else {"better": better}
        return search(tuned.task({"limits": {"bytes": 1e6}, "minimise": "error", "trials": 6}, space, **parts))

    best, sure = chosen(None), chosen(True)
    assert best.chosen is not None and sure.chosen is not None and best.chosen.spent > 0
    assert (sure.chosen.number, sure.result) == (best.chosen.number, best.result)
    assert 1 < len(asked) <= 3
    plain = chosen(False)
    assert plain.chosen is not None and plain.result is not None and best.result is not None
    assert plain.chosen.steps == () and plain.chosen.spent == 0, "the student as it is"
    assert asked[-1] == (best.result.model, plain.result.model)
    assert plain.result.error > best.result.error


def test_a_plainer_file_must_be_within_the_limits_and_a_small_one_is_no_matter_of_errors(tuned: Bench) -> None:
    space: list[dict[str, Any]] = [{"kind": "neurons", "keep": [0.5, 0.75, 1.0], "epochs": 2}, SPACE[1]]
    never = {"better": lambda *_: False}
    found = search(tuned.task({"limits": {"parameters": 1500}, "minimise": "error", "trials": 6}, space, **never))
    assert found.chosen is not None and found.about()["parameters"] <= 1500
    smallest = [
        search(tuned.task({"limits": {"retention": 2.0}, "trials": 6}, space, **parts)) for parts in (never, {})
    ]
    numbers = [each.chosen.number for each in smallest if each.chosen]
    assert len(numbers) == 2 and numbers[0] == numbers[1]


def test_a_file_that_is_rounded_alone_is_plain_enough(bench: Bench) -> None:
    """Nothing is trained or cut: eight bits have no reason to give way to more."""
    eight = parse_chain("eight", Recipe(steps=(Spec(kind="int8-weights"),)))
    bench.target = run_onnx(bench.build(eight).model, bench.rows)
    never = {"better": lambda *_: False}
    space = [{"kind": "numbers", "choices": ["none", "fp16", "int8-weights"]}]
    settings = {"limits": {"bytes": 1e6}, "minimise": "error", "trials": 3}
    found, plain = (search(bench.task(settings, space, **parts)) for parts in ({}, never))
    assert found.chosen is not None and plain.chosen is not None
    assert found.chosen.numbers == plain.chosen.numbers == "int8-weights"


def test_a_file_that_is_cut_more_is_not_plainer_for_less_training(bench: Bench) -> None:
    (tried,) = search(bench.task({"limits": {"bytes": 1e6}, "minimise": "error", "trials": 1}, SPACE)).trials

    def trial(spent: int, parameters: int) -> Trial:
        return tried.model_copy(
            update={"rungs": (Rung(epochs=0, spent=spent, error=1, bytes=9, parameters=parameters, parity=0),)}
        )

    assert plainer(trial(0, 90), trial(4, 50)) and plainer(trial(0, 50), trial(4, 50))
    assert plainer(trial(4, 90), trial(4, 50))
    assert not plainer(trial(0, 40), trial(4, 50)) and not plainer(trial(5, 90), trial(4, 50))
    assert not plainer(trial(4, 50), trial(4, 50))
