"""A chain that cannot work is refused before anything is trained."""

import pytest

from tasks.compression.chain import STEPS, order, parse_chain
from tasks.compression.options import Recipe
from tasks.core.errors import ConfigError

OPTIONS: dict[str, dict[str, object]] = {
    "magnitude": {"sparsity": 0.5},
    "neurons": {"keep": 0.5},
    "channels": {"keep": 0.5},
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
        "neurons and channels, then low-rank, then magnitude, then one of int8-qat, int8-dynamic, int8-static, "
        "int8-weights, int4-weights, fp16, then bitmask"
    )
    assert len(STEPS) == 11


@pytest.mark.parametrize(
    "kinds",
    [
        ("fp16", "magnitude"),
        ("int8-dynamic", "neurons"),
        ("magnitude", "neurons"),
        ("low-rank", "channels"),
        ("magnitude", "low-rank"),
        ("int8-qat", "magnitude"),
        ("bitmask", "int8-weights"),
        ("fp16", "int8-static"),
        ("int8-qat", "int4-weights"),
        ("int8-dynamic", "int8-static"),
        ("magnitude", "magnitude"),
        ("neurons", "neurons"),
    ],
)
def test_orders_that_cannot_work(kinds: tuple[str, ...]) -> None:
    message = f"recipes.odd.steps: {kinds[1]} cannot follow {kinds[0]}; the order is neurons and channels, then"
    with pytest.raises(ConfigError, match=message):
        parse_chain("odd", of_kinds(*kinds))


def test_a_step_that_stands_there_twice_is_refused_wherever_it_stands() -> None:
    with pytest.raises(ConfigError, match=r"recipes.odd.steps: each kind may stand there once"):
        parse_chain("odd", of_kinds("neurons", "channels", "neurons"))


@pytest.mark.parametrize("kind", ["int8-qat", "int8-dynamic", "int8-static", "int4-weights"])
def test_packing_zeros_that_a_number_format_moved_is_refused(kind: str) -> None:
    with pytest.raises(
        ConfigError, match=f"recipes.odd.steps: bitmask cannot leave out zeros that {kind} stores; use int8"
    ):
        parse_chain("odd", of_kinds("magnitude", kind, "bitmask"))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"kind": "svd"}, r"recipes.odd.steps.0.kind: unknown kind 'svd'; there are: neurons, channels, low-rank"),
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
