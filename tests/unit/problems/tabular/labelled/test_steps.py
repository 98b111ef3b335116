"""Every compression step that fits a network of labelled rows leaves a file that runs, and whose quantiles rise."""

from typing import Any

import numpy as np
import pytest
import torch

from tasks.compression.chain import STEPS, parse_chain
from tasks.compression.options import Recipe
from tasks.compression.recipe import compress
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.problems.models import build_model
from tests.kinds.test_kinds import STEP_OPTIONS
from tests.unit.problems.tabular.labelled.homes import VALUE, dataset, problem

OTHERS = {"channels", "tail", "product-codes", "token-vectors"}
"""These are for convolutions, and for vectors of items and of tokens."""


@pytest.mark.parametrize("kind", [kind for kind in STEPS if kind not in OTHERS])
def test_a_step_keeps_quantiles_in_order(kind: str) -> None:
    options: dict[str, Any] = VALUE | {"quantiles": [0.05, 0.5, 0.6, 0.95]}
    rows, built = dataset(options), problem(options)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_model(Spec(kind="mlp", hidden=[16, 16]), rows.contract)
    train, valid = rows.splits["train"], rows.splits["valid"]
    found = compress(
        model,
        parse_chain("one", Recipe(steps=(Spec(kind=kind, **STEP_OPTIONS.get(kind, {})),))),
        rows.contract,
        valid=rows.batches(valid),
        error=lambda output: built.score(output, rows.target(valid)).error,
        calibration=lambda count: rows.inputs(train[:count]),
        tune=lambda *_, **__: 0,
        rounds=0,
    )
    assert found.parity.relative < 0.1
    output = run_onnx(found.model, rows.inputs(train))
    assert np.isfinite(output).all() and (np.diff(output[:, 1:], axis=1) >= 0).all()
