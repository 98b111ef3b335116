"""The workloads that come with the project pass their own gates with honest models, and these refuse known-bad ones.

The tables are made up, with the columns, and about the noise, of the real ones, so that nothing is fetched.
"""

import hashlib
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from tasks.compression.export import export_onnx
from tasks.config.workload import Workload, load_workload
from tasks.core.config import Spec
from tasks.gates.champion import Champion
from tasks.gates.drift import DriftFound
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.verdict import decide
from tasks.planning.soundness import require_sound
from tasks.problems import get_problem
from tasks.problems.models import build_model
from tests.unit.problems.tabular.labelled.homes import AS_OF

PROJECT = Path(__file__).parents[5]
WORKLOADS = ("price", "churn", "customers")
BASKET, EDGES = 30.0, (60.0, 190.0)


def _diamonds(count: int = 8000) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    carat = rng.uniform(0.2, 1.8, count)
    side = 6.4 * np.cbrt(carat)
    cut, color, clarity = (rng.integers(0, size, count) for size in (5, 7, 8))
    price = 8000 * carat**1.5 * (1 + 0.03 * cut) * (1 - 0.06 * color) * (0.6 + 0.1 * clarity) + 300
    return pl.DataFrame(
        {
            "carat": carat, "depth": rng.normal(61.7, 1.4, count), "table": rng.normal(57, 2, count),
            "x": side, "y": side + 0.02, "z": side * 0.62,
            "cut": [f"cut{place}" for place in cut], "color": [f"color{place}" for place in color],
            "clarity": [f"clarity{place}" for place in clarity],
            "price": (price * rng.normal(1, 0.05, count)).round(),
        }
    )  # fmt: skip


def _employees(count: int = 8000) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    hours, evaluation = rng.normal(50, 12, count), rng.integers(2, 6, count)
    odds = 3 - 0.15 * (hours - 40) - 1.2 * (evaluation - 2)
    fired = rng.random(count) < 1 / (1 + np.exp(-odds))
    return pl.DataFrame(
        {
            "gender": rng.choice(["male", "female"], count), "age": rng.uniform(20, 60, count),
            "hours": hours, "evaluation": evaluation, "salary": rng.integers(0, 6, count),
            "status": np.where(fired, "fired", rng.choice(["ok", "promoted"], count)),
        }
    )  # fmt: skip


def _households(count: int = 700, days: int = 380) -> pl.DataFrame:
    """Households buy by chance, each at its own rate, baskets of about `BASKET` dollars."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(1.5, 0.1, count)
    day, who = np.nonzero(rng.random((days, count)) < rate)
    spend = rng.gamma(2, BASKET / 2, len(day))
    parts = ("spend_grocery", "spend_drug_gm", "spend_produce", "spend_meat", "spend_deli", "spend_fuel")
    return pl.DataFrame(
        {
            "date": [AS_OF - timedelta(days=int(days - 1 - place)) for place in day],
            "household_id": [f"h{place:03d}" for place in who],
            "spend": spend, "basket_count": np.ones(len(day)), "units": rng.poisson(8, len(day)),
            "discount": 0.1 * spend, **dict.fromkeys(parts, spend / 6),
            "age": [f"a{place % 3}" for place in who], "income": [f"i{place % 4}" for place in who],
            "household_size": [f"s{place % 2}" for place in who],
        }
    )  # fmt: skip


class Arithmetic(nn.Module):
    """A model of `customers` that knows how the table was made: spend of 28 days is a compound Poisson sum.

    Of the rate it knows what the last 84 days tell; a prior of as many purchases as in 20 days of a usual household.
    """

    def __init__(self, features: list[str]) -> None:
        super().__init__()
        self.days = features.index("active_days_84")

    def forward(self, numeric: Tensor, codes: Tensor) -> Tensor:
        expected = 28 * (numeric[:, self.days] + 1.5) / (84 + 10)
        mean, deviation = BASKET * expected, BASKET * (1.5 * expected * (1 + 28 / 94)).sqrt()
        below = [0.5 * (1 + torch.erf((edge - mean) / deviation / 2**0.5)) for edge in EDGES]
        none = (1 + 28 / 94) ** -(numeric[:, self.days] + 1.5)
        chances = torch.stack([none, below[0] - none, below[1] - below[0], 1 - below[1]], dim=1)
        return chances.clamp(min=0.01).log()


@cache
def section(name: str) -> Workload:
    return load_workload(PROJECT / "params.yaml", name)


class Changed(nn.Module):
    """A model whose numbers, codes or answers are changed."""

    def __init__(self, model: nn.Module, bad: str) -> None:
        super().__init__()
        self.model, self.bad = model, bad

    def forward(self, *inputs: Tensor) -> Tensor:
        *numbers, codes = inputs
        if self.bad == "sees no category":
            codes = torch.zeros_like(codes)
        if self.bad == "sees no first number":  # of events: no number at all
            hidden = numbers[-1]
            first = 4 if len(numbers) == 2 else hidden.shape[1]
            numbers[-1] = torch.cat([torch.zeros_like(hidden[:, :first]), hidden[:, first:]], dim=1)
        found: Tensor = self.model(*numbers, codes)
        if self.bad == "boasts":
            return 4 * found
        if self.bad == "is too sure":  # of a value: its band is a tenth as wide
            return torch.cat([found[:, :1], found[:, 2:3] + 0.1 * (found[:, 1:] - found[:, 2:3])], dim=1)
        return found * 0 + found.mean(dim=0, keepdim=True) if self.bad == "says one thing" else found


class World:
    """A workload with a made-up table; its teacher is LightGBM, that of `customers` knows how the table was made."""

    def __init__(self, name: str) -> None:
        self.section = section(name)
        problem = get_problem(self.section.problem)
        table = {"price": _diamonds, "churn": _employees, "customers": _households}[name]()
        self.dataset = problem.features({problem.tables()[0].name: table.lazy()}, AS_OF)
        self.evaluation = EvaluationSet(problem, self.dataset)
        torch.set_num_threads(1)
        if name == "customers":
            self.teacher: nn.Module = Arithmetic(self.dataset.contract.settings["features"])
            return
        torch.manual_seed(0)
        model: Any = build_model(Spec(kind="lightgbm", trees=100, leaves=15, learning_rate=0.15), self.dataset.contract)
        model.fit(self.dataset, self.dataset.splits["train"], self.dataset.splits["valid"], seed=0)
        self.teacher = model.eval()

    def file(self, bad: str = "") -> bytes:
        example = self.dataset.inputs(self.dataset.splits["valid"][:2])
        return export_onnx(Changed(self.teacher, bad).eval(), self.dataset.contract, example)

    @cached_property
    def honest(self) -> bytes:
        """The teacher's own file."""
        return self.file()

    @cached_property
    def opponents(self) -> Opponents:
        naive, teacher = self.evaluation.naive(), self.evaluation.run(self.honest)
        return Opponents(
            self.evaluation.score(naive), self.evaluation.score(teacher), Champion(0), DriftFound(first_night=True)
        )

    def failed(self, model: bytes) -> set[str]:
        """The gates that refuse a file, by their first names; those of size and time are of networks and left out."""
        about = {"valid_error": 1.0, "sha256": hashlib.sha256(model).hexdigest(), "parity": {"relative": 0.0}}
        given = self.section.gates
        few = given.accuracy.model_copy(update={"resamples": 100})
        large = given.size.model_copy(update={"max_bytes": 10_000_000})
        slow = given.latency.model_copy(update={"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6})
        limits = given.model_copy(update={"accuracy": few, "size": large, "latency": slow})
        verdict = decide([Candidate("one", model, about)], self.evaluation, self.opponents, limits, seed=1)
        return {result.gate for result in verdict.ranked[0].failed}


@pytest.fixture(scope="module", params=WORKLOADS)
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_section_fits_together(name: str) -> None:
    require_sound(name, section(name), PROJECT)


def test_an_honest_model_passes_every_gate(world: World) -> None:
    assert world.failed(world.honest) == set()


def test_a_model_that_says_one_thing_or_sees_too_little_is_refused(world: World) -> None:
    for bad in ("says one thing", "sees no first number"):
        assert {"accuracy/naive", "accuracy/teacher"} <= world.failed(world.file(bad)), bad
    if world.section.problem.options.get("task") != "value":
        assert "accuracy/teacher" in world.failed(world.file("boasts")), "its order is right, its chances are not"
    else:
        assert "accuracy/teacher" in world.failed(world.file("sees no category"))
        assert world.failed(world.file("is too sure")) == {"calibration/coverage"}
