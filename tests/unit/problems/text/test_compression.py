"""A table of tokens' vectors is most of a bag: what narrow numbers make of it."""

import copy
import itertools
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tasks.compression.chain import parse_chain
from tasks.compression.export import export_onnx
from tasks.compression.integer_weights import Int4Weights, Int8Weights, IntegerWeights
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.options import Recipe
from tasks.compression.recipe import Compressed, compress
from tasks.compression.runtime import run_onnx
from tasks.compression.token_vectors import TokenVectors
from tasks.compression.traits import traits_of
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems.base import Batches
from tasks.problems.models import build_model
from tasks.problems.text.models.bag import Bag
from tests.unit.problems.text.letters import dataset


def test_a_table_takes_four_bits_where_it_may() -> None:
    made = dataset()
    torch.manual_seed(0)
    model = build_model(Spec(kind="bag", width=16, rows=2039), made.contract).eval()
    inputs = made.inputs(made.splits["test"], ("grams",))
    plain = export_onnx(model, made.contract, {name: values[:2] for name, values in inputs.items()})
    expected = run_onnx(plain, inputs)
    sizes, gaps = [], []
    steps: tuple[IntegerWeights, ...] = (Int8Weights(), Int4Weights(), Int4Weights(tables=True))
    for step in steps:
        data = to_bytes(
            step.apply(onnx.load_model_from_string(plain), lambda count: {"grams": inputs["grams"][:count]})
        )
        sizes.append(len(data))
        gaps.append(float(np.abs(run_onnx(data, inputs) - expected).mean() / np.abs(expected).mean()))
    numbers = 2039 * 16
    assert len(plain) > 4 * numbers > 3.5 * sizes[0]
    assert sizes[2] < 0.6 * sizes[0] and sizes[1] > 0.95 * sizes[0]
    assert gaps[0] < 0.02 and gaps[2] < 0.3


def bag() -> Bag:
    torch.manual_seed(0)
    model = build_model(Spec(kind="bag", width=16, rows=2039), dataset().contract)
    assert isinstance(model, Bag)
    return model.eval()


def compressed(model: nn.Module, *steps: dict[str, Any]) -> Compressed:
    made = dataset()
    chain = parse_chain("one", Recipe(steps=tuple(Spec(**step) for step in steps)), {"student": traits_of(model)})
    return compress(
        model,
        chain,
        made.contract,
        valid=Batches.of(made.inputs(made.splits["valid"], ("grams",))),
        error=lambda output: float(np.abs(output).mean()),
        calibration=lambda count: made.inputs(made.splits["train"][:count], ("grams",)),
        tune=lambda *_, **__: 0,
        rounds=0,
    )


HALF, INT8 = {"kind": "token-vectors", "keep": 0.5}, {"kind": "int8-weights"}


@pytest.mark.parametrize("steps", [(HALF,), (HALF, INT8)])
def test_each_step_takes_bytes_and_the_file_says_what_torch_says(steps: tuple[dict[str, Any], ...]) -> None:
    found = compressed(bag(), *steps)
    sizes = [stock.bytes for stock in found.history]
    assert all(after < 0.65 * before for before, after in itertools.pairwise(sizes))
    assert found.parity.relative < (2e-2 if INT8 in steps else 1e-5)


def test_rows_that_no_text_looks_up_leave_first_and_change_no_answer() -> None:
    made, model = dataset(), bag()
    grams = made.inputs(made.splits["train"], ("grams",))
    used = int((model.seen(grams) > 0).sum())
    whole = copy.deepcopy(model)
    TokenVectors(keep=(used + 1) / 2038, epochs=0).apply(model, lambda *_, **__: 0, lambda _: grams)
    tokens = torch.from_numpy(grams["grams"])
    assert len(model.token_vectors()) == used + 2 < 2039
    torch.testing.assert_close(model(tokens), whole(tokens))
    TokenVectors(keep=0.1, epochs=0).apply(whole, lambda *_, **__: 0, lambda _: grams)
    assert (whole(tokens) - model(tokens)).abs().max() > 0.01
    loss = whole.train()(tokens).square().mean()
    loss.backward()  # what is left can be trained on
    gradient = whole.token_vectors().grad
    assert gradient is not None and gradient[1:].any() and not gradient[0].any()


@pytest.mark.parametrize("keep", [0, 1, -0.5])
def test_a_share_that_keeps_all_or_nothing_is_refused(keep: float) -> None:
    with pytest.raises(ConfigError, match=r"recipes\.one\.steps\.0.*keep"):
        compressed(bag(), {"kind": "token-vectors", "keep": keep})


def test_a_model_without_a_table_of_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"token-vectors needs vectors of tokens .*, which students\.student has not"):
        compressed(nn.Linear(2, 2), HALF)
    with pytest.raises(ConfigError, match=r"^step token-vectors: model Linear has no vectors of tokens; drop the step"):
        TokenVectors(keep=0.5).apply(nn.Linear(2, 2), lambda *_, **__: 0, lambda _: {})
    for before in (INT8, HALF):
        with pytest.raises(ConfigError, match=f"token-vectors cannot follow {before['kind']}"):
            parse_chain("one", Recipe(steps=(Spec(**before), Spec(**HALF))))
