"""The forecasting workloads of the gallery pass their own gates with an honest model, and these refuse known-bad ones.

The tables are made up, with the columns of the real ones, so that nothing is fetched.
"""

import hashlib
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tasks.compression.export import export_onnx
from tasks.config.workload import Workload, load_workload
from tasks.gates.champion import Champion
from tasks.gates.drift import DriftFound
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.verdict import decide
from tests.gallery import MAKES, NIGHT, made

PROJECT = Path(__file__).parents[4]
DAY, WEEK = 24, 168
RECENT = 60


def cycles(steps: Tensor) -> Tensor:
    """One, a sine and a cosine of the day and of the week, (steps, 5)."""
    waves = [f(2 * torch.pi * steps / period) for period in (DAY, WEEK) for f in (torch.sin, torch.cos)]
    return torch.stack([torch.ones_like(steps), *waves], dim=1)


class Honest(nn.Module):
    """Hours: the day's and the week's cycle of the window, by least squares, with quantiles of what is left over.

    Returns: the quantiles of a normal distribution with the window's own deviation. `bad` spoils it.
    """

    uses = ("units", "observed")

    def __init__(self, section: Workload, bad: str = "") -> None:
        super().__init__()
        options = section.problem.options
        self.returns, self.bad, self.horizon = options["frequency"] == "1b", bad, options["horizon"]
        past = cycles(torch.arange(-options["context"], 0, dtype=torch.float32))
        ahead = cycles(torch.arange(self.horizon, dtype=torch.float32))
        self.register_buffer("fit", torch.linalg.pinv(past).T.contiguous())
        self.register_buffer("past", past.T.contiguous())
        self.register_buffer("ahead", ahead.T.contiguous())
        self.register_buffer("levels", torch.tensor([NormalDist().inv_cdf(level) for level in options["quantiles"]]))

    def forward(self, units: Tensor, observed: Tensor) -> Tensor:
        count = observed.sum(dim=1, keepdim=True).clamp(min=1)
        mean = units.sum(dim=1, keepdim=True) / count
        apart = (units - mean) * observed
        found = apart @ self.get_buffer("fit")
        ahead, left = mean + found @ self.get_buffer("ahead"), apart - found @ self.get_buffer("past")
        if self.returns:
            ahead, left = ahead * 0, units
        spread = ((left * left * observed).sum(dim=1, keepdim=True) / count).sqrt()
        if self.bad == "another hour":
            ahead = torch.cat([ahead[:, DAY // 4 :], ahead[:, : DAY // 4]], dim=1)
        if self.bad == "a constant":
            ahead, spread = ahead * 0 + mean.mean(), spread * 0 + spread.mean()
        if self.bad == "goes on":  # yesterday's return is tomorrow's
            ahead = ahead + units[:, -1:]
        if self.bad == "trusts one step":
            ahead = ahead + (units[:, -1:] - mean)
        result: Tensor = ahead.unsqueeze(2) + spread.unsqueeze(2) * self.get_buffer("levels")
        return result


class World:
    """A workload with a made-up table."""

    def __init__(self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.section = load_workload(PROJECT / "params.yaml", name)
        many = {"test_origins": 16, "valid_origins": 2, "stride": 24}
        problem, source, _ = made(name, self.section, folder, monkeypatch, **many)
        tables = {key: table.lazy() for key, table in source.fetch(NIGHT).tables.items()}
        self.dataset = problem.features(tables, NIGHT)
        self.evaluation = EvaluationSet(problem, self.dataset)
        torch.set_num_threads(1)

    def failed(self, bad: str = "") -> set[str]:
        """The gates that refuse a model, by name; those of time are of networks and left out."""
        example = self.dataset.inputs(self.dataset.splits["valid"][:2])
        honest, model = (
            export_onnx(Honest(self.section, spoilt).eval(), self.dataset.contract, example) for spoilt in ("", bad)
        )
        naive, teacher = self.evaluation.naive(), self.evaluation.run(honest)
        opponents = Opponents(
            self.evaluation.score(naive), self.evaluation.score(teacher), Champion(0), DriftFound(first_night=True)
        )
        about = {"valid_error": 1.0, "sha256": hashlib.sha256(model).hexdigest(), "parity": {"relative": 0.0}}
        given = self.section.gates
        few = given.accuracy.model_copy(update={"resamples": 100})
        slow = given.latency.model_copy(update={"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6})
        limits = given.model_copy(update={"accuracy": few, "latency": slow})
        verdict = decide([Candidate("one", model, about)], self.evaluation, opponents, limits, seed=1)
        return {result.gate for result in verdict.ranked[0].failed}


@pytest.mark.parametrize("name", MAKES)
def test_an_honest_model_passes_and_known_bad_ones_do_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(name, tmp_path, monkeypatch)
    assert world.failed() == set()
    for bad in ("a constant", "goes on") if name == "finance" else ("a constant", "another hour", "trusts one step"):
        assert {"accuracy/naive", "accuracy/teacher"} <= world.failed(bad), bad


@pytest.mark.parametrize("name", MAKES)
def test_limits_are_near_what_an_honest_model_does(name: str) -> None:
    gates = load_workload(PROJECT / "params.yaml", name).gates
    assert gates.accuracy.retention <= 1.1 and gates.accuracy.max_gain < 0.9
    assert {each.kind for each in gates.robustness} == {"noise", "missing", "shift"}
    assert all(1 < each.limit <= 1.5 for each in gates.robustness)
    assert np.isfinite(gates.accuracy.limit)
