"""Vectors of items: none for the tail, and shared codes. A catalogue's file shrinks, and says what torch says."""

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tasks.compression.chain import parse_chain
from tasks.compression.item_vectors import ProductCodes, Tail
from tasks.compression.options import Recipe
from tasks.compression.recipe import Compressed, compress
from tasks.compression.step import AfterStep
from tasks.compression.traits import traits_of
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems.base import Batches
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import HISTORY, make_contract
from tasks.problems.ranking.models.students import DecayedSum
from tests.unit.problems.ranking.films import problem

ITEMS = 600
CONTRACT = make_contract(problem().options, [f"f{number:03d}" for number in range(ITEMS)])


def student(**options: Any) -> DecayedSum:
    """A student whose vectors are alike in groups, as those of trained ones are."""
    torch.manual_seed(0)
    model = build_model(Spec(kind="decayed-sum", width=16, **options), CONTRACT)
    assert isinstance(model, DecayedSum) and model.answers is not None
    with torch.no_grad():
        for table in (model.items.weight[1:], model.answers):
            table.copy_(torch.randn(20, 16)[torch.arange(ITEMS) % 20] + 0.05 * torch.randn(ITEMS, 16))
    return model.eval()


def histories(rows: int) -> dict[str, Any]:
    return {HISTORY: np.random.default_rng(0).integers(0, ITEMS + 1, (rows, 8))}


def compressed(model: nn.Module, *steps: dict[str, Any]) -> Compressed:
    chain = parse_chain("one", Recipe(steps=tuple(Spec(**step) for step in steps)), {"student": traits_of(model)})
    return compress(
        model,
        chain,
        CONTRACT,
        valid=Batches.of(histories(40)),
        error=lambda output: float(np.abs(output).mean()),
        calibration=histories,
        tune=lambda *_, **__: 0,
        rounds=0,
    )


TAIL, CODES, INT8 = (
    {"kind": "tail", "keep": 0.5},
    {"kind": "product-codes", "dims": 4, "levels": 32},
    {"kind": "int8-weights"},
)


@pytest.mark.parametrize("steps", [(TAIL,), (CODES,), (CODES, INT8), (TAIL, CODES), (TAIL, CODES, INT8)])
def test_the_file_shrinks_with_each_step_and_says_what_torch_says(steps: tuple[dict[str, Any], ...]) -> None:
    found = compressed(student(), *steps)
    sizes = [stock.bytes for stock in found.history]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.75 * sizes[0]
    assert found.parity.relative < (2e-2 if INT8 in steps else 1e-5)


def test_codes_stand_in_the_file_as_bytes_beside_what_they_share() -> None:
    graph = onnx.load_model_from_string(compressed(student(), CODES).model).graph
    stored = {(tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    assert (onnx.TensorProto.UINT8, (ITEMS, 4)) in stored
    assert not any(kind == onnx.TensorProto.FLOAT and ITEMS in dims[:1] and len(dims) == 2 for kind, dims in stored)


def test_codes_keep_what_few_vectors_say_and_nothing_stays_nothing() -> None:
    model = student()
    before = copy.deepcopy(model)
    ProductCodes(dims=4, levels=32, epochs=0).apply(model, lambda *_, **__: 0, histories)
    assert not model.items.weight[0].any() and before.answers is not None and model.answers is not None
    for whole, kept in ((before.items.weight, model.items.weight), (before.answers, model.answers)):
        assert (whole - kept).square().mean() < 0.01 * whole.square().mean()
    assert sum(weights.numel() for weights in model.parameters()) < 0.15 * sum(w.numel() for w in before.parameters())


def test_the_tail_is_the_least_popular_and_keeps_its_bias() -> None:
    model = student()
    whole = model.items.weight.detach().clone()
    Tail(keep=0.25, epochs=0).apply(model, lambda *_, **__: 0, histories)
    assert torch.equal(model.items.weight[: 1 + ITEMS // 4], whole[: 1 + ITEMS // 4])
    assert not model.items.weight[1 + ITEMS // 4 :].any() and len(model.bias) == ITEMS


def test_fine_tuning_moves_what_is_shared_and_no_code() -> None:
    model = student()

    def tune(trained: nn.Module, epochs: int, *_: Any, **__: Any) -> int:
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
        for _epoch in range(epochs):
            optimizer.zero_grad()
            trained(torch.from_numpy(histories(20)[HISTORY])).square().mean().backward()
            optimizer.step()
        return epochs

    state: dict[str, Any] = {}

    def noted(model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None) -> int:
        state.update(copy.deepcopy(model.state_dict()))
        return tune(model, epochs)

    ProductCodes(dims=4, levels=32, epochs=2).apply(model, noted, histories)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
    codes = {name for name in state if name.endswith("codes")}
    assert len(codes) == 2 and not codes & changed
    assert {"parametrizations.answers.original", "items.parametrizations.weight.original"} <= changed


def test_a_table_that_codes_would_not_shrink_stays() -> None:
    small = build_model(Spec(kind="decayed-sum", width=8), make_contract(problem().options, ["a", "b", "c"]))
    ProductCodes(epochs=0).apply(small, lambda *_, **__: 0, histories)
    assert "answers" in dict(small.named_parameters())


def test_what_cannot_be_coded_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^step product-codes: dims: 5 do not divide vectors of 16 numbers"):
        compressed(student(), {"kind": "product-codes", "dims": 5})
    with pytest.raises(ConfigError, match=r"^step product-codes: dims: 5 do not divide"):
        ProductCodes(dims=5).require(student())
    ProductCodes(dims=4).require(student())
    for step in (Tail(keep=0.5), ProductCodes()):
        with pytest.raises(ConfigError, match=f"^step {step.kind}: model Linear has no vectors of items; drop the st"):
            step.apply(nn.Linear(2, 2), lambda *_, **__: 0, histories)
    with pytest.raises(ConfigError, match=r"tail needs vectors of a catalogue's items, which students\.net has not"):
        parse_chain("one", Recipe(steps=(Spec(**TAIL),)), {"net": traits_of(nn.Linear(2, 2))})
    with pytest.raises(ConfigError, match="tail cannot follow product-codes"):
        parse_chain("one", Recipe(steps=(Spec(**CODES), Spec(**TAIL))))
