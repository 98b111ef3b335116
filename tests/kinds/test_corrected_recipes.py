"""A recipe ends with the correction: its bytes carry it, the choice does not, and a last fit takes it over."""

from collections.abc import Callable

import numpy as np
import torch

from tasks.compression.chain import parse_chain
from tasks.compression.options import Recipe
from tasks.compression.recipe import CORRECTION, compress
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.gates.gate import Candidate
from tasks.problems.base import Floats
from tasks.problems.forecasting.conformal import Conformal
from tasks.problems.models import build_model
from tasks.stages.refit import correction_of
from tests.kinds.conftest import World


def test_the_bytes_carry_the_correction_and_the_choice_does_not(worlds: Callable[[str], World]) -> None:
    world = worlds("forecasting")
    dataset, problem = world.dataset, world.problem
    torch.manual_seed(0)
    model = build_model(Spec(kind="linear"), dataset.contract)
    rows = dataset.splits["valid"]
    target = dataset.target(rows)
    horizon = dataset.contract.output_shape[0]
    end = Conformal(shifts=(((-0.5, -0.2, 0.5),),), edges=(), blocks=(0,) * horizon, median=1, positive=True, mean=True)
    seen: list[Floats] = []

    def correction(output: Floats) -> Conformal:
        seen.append(output)
        return end

    found = compress(
        model,
        parse_chain("one", Recipe(steps=(Spec(kind="fp16"),))),
        dataset.contract,
        valid=dataset.batches(rows),
        error=lambda output: problem.score(output, target).error,
        calibration=lambda count: dataset.inputs(dataset.splits["train"][:count]),
        tune=lambda *_, **__: 0,
        correction=correction,
        rounds=0,
    )
    assert [stock.step for stock in found.history] == ["student", "fp16", "correction"]
    output = run_onnx(found.model, dataset.inputs(rows))
    np.testing.assert_allclose(output, end.apply(seen[0]), rtol=1e-4, atol=1e-4)
    assert found.error == problem.score(seen[0], target).error != found.history[-1].error
    assert found.parity.relative < 0.01, "torch's outputs are corrected too"
    about = found.about()
    assert about["valid_error"] == found.error and about["bytes"] == len(found.model)
    assert correction_of(problem, Candidate("one", found.model, about)) == end
    assert correction_of(problem, Candidate("one", found.model, {"valid_error": 1.0})) is None, "one of before"
    assert correction_of(worlds("ranking").problem, Candidate("one", found.model, about)) is None
    assert about[CORRECTION]["shifts"] == [[[-0.5, -0.2, 0.5]]]
