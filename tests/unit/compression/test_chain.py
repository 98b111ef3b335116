"""A chain that cannot work is refused before anything is trained."""

from typing import Any

import onnx
import pytest
from torch import Tensor, nn

from tasks.compression import chain
from tasks.compression.chain import STEPS, order, parse_chain
from tasks.compression.options import Recipe
from tasks.compression.step import ALL, Calibration, GraphStep
from tasks.compression.traits import traits_of
from tasks.core.errors import ConfigError

OPTIONS: dict[str, dict[str, object]] = {
    "magnitude": {"sparsity": 0.5},
    "neurons": {"keep": 0.5},
    "channels": {"keep": 0.5},
    "token-vectors": {"keep": 0.5},
    "low-rank": {"energy": 0.9},
}


def recipe(*steps: dict[str, object]) -> Recipe:
    return Recipe.model_validate({"steps": steps})


def of_kinds(*kinds: str) -> Recipe:
    return recipe(*({"kind": kind, **OPTIONS.get(kind, {})} for kind in kinds))


def test_torch_steps_come_before_the_export_and_graph_steps_after() -> None:
    chain = parse_chain("chain", of_kinds("channels", "neurons", "low-rank", "magnitude", "int8-weights", "bitmask"))
    assert [step.kind for step in chain.before_export] == ["channels", "neurons", "low-rank", "magnitude"]
    assert [step.kind for step in chain.after_export] == ["int8-weights", "bitmask"]
    trained = parse_chain("chain", of_kinds("neurons", "channels", "magnitude", "int8-qat"))
    assert [step.kind for step in trained.before_export] == ["neurons", "channels", "magnitude", "int8-qat"]
    assert trained.after_export == ()
    assert parse_chain("fp32", Recipe()).before_export == ()


def test_the_order_names_every_kind_once() -> None:
    assert order() == (
        "neurons and channels and tail and token-vectors, then one of low-rank, product-codes, then magnitude, then "
        "one of int8-qat, int8-dynamic, int8-static, int8-weights, int4-weights, fp16, then bitmask"
    )
    assert len(STEPS) == 14


@pytest.mark.parametrize(
    ("kinds", "lost"),
    [
        (("fp16", "magnitude"), "weights in float32"),
        (("int8-dynamic", "neurons"), "weights in float32"),
        (("magnitude", "neurons"), "hidden neurons that can leave"),
        (("low-rank", "channels"), "channels of convolutions that can leave"),
        (("magnitude", "low-rank"), "matrices that are neither factored nor masked"),
        (("low-rank", "low-rank"), "matrices that are neither factored nor masked"),
        (("int8-qat", "magnitude"), "weights"),
        (("bitmask", "int8-weights"), "weights in float32"),
        (("fp16", "int8-static"), "weights in float32"),
        (("int8-qat", "int4-weights"), "weights in float32"),
        (("int8-dynamic", "int8-static"), "weights in float32"),
        (("magnitude", "magnitude"), "weights without a mask"),
        (("neurons", "neurons"), "hidden neurons that can leave"),
        (("bitmask", "bitmask"), "pruned weights that are stored as zero"),
    ],
)
def test_orders_that_cannot_work(kinds: tuple[str, ...], lost: str) -> None:
    message = f"recipes.odd.steps: {kinds[1]} cannot follow {kinds[0]}, which does not leave {lost}"
    with pytest.raises(ConfigError, match=message + ".*; the order is neurons and channels and tail and"):
        parse_chain("odd", of_kinds(*kinds))


def test_a_step_that_stands_there_twice_is_refused_wherever_it_stands() -> None:
    with pytest.raises(ConfigError, match=r"recipes.odd.steps: neurons cannot follow neurons, which .* at most once"):
        parse_chain("odd", of_kinds("neurons", "channels", "neurons"))


@pytest.mark.parametrize("kind", ["int8-qat", "int8-dynamic", "int8-static", "int4-weights"])
def test_packing_zeros_that_a_number_format_moved_is_refused(kind: str) -> None:
    way_out = "take int8-weights or fp16 in its place, or drop bitmask"
    with pytest.raises(ConfigError, match=f"bitmask cannot follow {kind}, which does not leave .*; {way_out}"):
        parse_chain("odd", of_kinds("magnitude", kind, "bitmask"))


@pytest.mark.parametrize("kind", STEPS)
def test_what_a_step_needs_it_leaves_or_nobody_after_it_may_need(kind: str) -> None:
    step = STEPS[kind]
    assert step.needs <= ALL and step.leaves <= ALL and step.needs


class Forest(nn.Module):
    """Trees have no weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Recurrent(nn.Module):
    """A layer with gates, and nothing that can leave."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.GRU(3, 4)


@pytest.mark.parametrize(
    ("model", "kinds", "lacking"),
    [
        (Forest(), ("fp16",), "weights in float32"),
        (Forest(), ("int8-dynamic",), "weights in float32"),
        (Recurrent(), ("int8-static",), "products with a stored matrix"),
        (Recurrent(), ("low-rank",), "linear layers that can be replaced"),
        (Recurrent(), ("int8-qat",), "linear layers that can be replaced"),
        (Recurrent(), ("magnitude",), "weights without a mask"),
        (nn.Sequential(nn.Linear(3, 4)), ("neurons", "fp16"), "hidden neurons that can leave"),
        (nn.Sequential(nn.Conv1d(3, 4, 1)), ("channels",), "channels of convolutions that can leave"),
    ],
)
def test_a_step_on_a_model_that_lacks_what_it_needs_is_refused(
    model: nn.Module, kinds: tuple[str, ...], lacking: str
) -> None:
    students = {"good": ALL, "small": traits_of(model)}
    message = f"recipes.odd.steps: {kinds[0]} needs {lacking}, which students.small has not; drop the step, or give"
    with pytest.raises(ConfigError, match=message):
        parse_chain("odd", of_kinds(*kinds), students)


def test_steps_on_models_that_have_what_they_need() -> None:
    parse_chain("narrow", of_kinds("int8-weights"), {"small": traits_of(Recurrent())})
    parse_chain(
        "thin", of_kinds("low-rank", "magnitude", "int8-static"), {"small": traits_of(nn.Sequential(nn.Linear(3, 4)))}
    )


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"kind": "svd"},
            r"recipes.odd.steps.0.kind: unknown kind 'svd'; there are: neurons, channels, tail, token-vectors",
        ),
        ({"kind": "magnitude", "sparsity": 1.0}, r"recipes.odd.steps.0.sparsity .* less than 1, got 1.0"),
        ({"kind": "magnitude"}, r"recipes.odd.steps.0.sparsity .* Field required"),
        ({"kind": "neurons", "keep": 0.5, "phase": "numbers"}, r"recipes.odd.steps.0.phase .* Extra inputs"),
        ({"kind": "fp16", "epochs": 3}, r"recipes.odd.steps.0.epochs .* Extra inputs"),
        ({"kind": "low-rank"}, r"recipes.odd.steps.0 of kind low-rank: give exactly one of energy and budget"),
        ({"kind": "low-rank", "energy": 0.9, "budget": 0.5}, r"low-rank: give exactly one of energy and budget"),
        ({"kind": "low-rank", "budget": 1.5}, r"recipes.odd.steps.0.budget .* less than 1"),
        ({"kind": "channels", "keep": 0}, r"recipes.odd.steps.0.keep .* greater than 0"),
        ({"kind": "int8-qat", "epochs": 0}, r"recipes.odd.steps.0.epochs .* greater than 0"),
        ({"kind": "int4-weights", "samples": 0}, r"recipes.odd.steps.0.samples .* greater than 0"),
        ({"kind": "int8-weights", "min_elements": 0}, r"recipes.odd.steps.0.min_elements .* greater than 0"),
        ({"kind": "bitmask", "bits": 2}, r"recipes.odd.steps.0.bits .* Extra inputs"),
    ],
)
def test_unknown_kinds_and_options_are_named(step: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_chain("odd", recipe(step))


@pytest.mark.parametrize("declared", [{}, {"needs": frozenset({"magic"}), "leaves": frozenset()}])
def test_a_step_of_another_package_must_say_what_it_needs(
    declared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(GraphStep):
        kind = "odd"
        phase = "numbers"

        def apply(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
            return model

    for name, value in declared.items():
        setattr(Odd, name, value)
    monkeypatch.setattr(chain, "STEPS", {"odd": Odd})
    with pytest.raises(
        ConfigError, match=r"^recipes\.one\.steps: odd: needs must be a set of float weights, .*declares"
    ):
        parse_chain("one", recipe({"kind": "odd"}))
