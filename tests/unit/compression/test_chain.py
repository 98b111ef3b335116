"""A chain that cannot work is refused before anything is trained."""

import pytest

from tasks.compression.chain import parse_chain
from tasks.config import Recipe
from tasks.errors import ConfigError


def recipe(*steps: dict[str, object]) -> Recipe:
    return Recipe.model_validate({"steps": steps})


def test_torch_steps_come_before_the_export_and_graph_steps_after() -> None:
    chain = parse_chain(
        "chain", recipe({"kind": "neurons", "keep": 0.5}, {"kind": "magnitude", "sparsity": 0.3}, {"kind": "fp16"})
    )
    assert [step.kind for step in chain.before_export] == ["neurons", "magnitude"]
    assert [step.kind for step in chain.after_export] == ["fp16"]
    assert parse_chain("fp32", Recipe()).before_export == ()


@pytest.mark.parametrize(
    "kinds",
    [
        ("fp16", "magnitude"),
        ("int8-dynamic", "neurons"),
        ("magnitude", "neurons"),
        ("fp16", "int8-static"),
        ("int8-dynamic", "int8-static"),
        ("magnitude", "magnitude"),
    ],
)
def test_orders_that_cannot_work(kinds: tuple[str, ...]) -> None:
    options: dict[str, dict[str, object]] = {"magnitude": {"sparsity": 0.5}, "neurons": {"keep": 0.5}}
    with pytest.raises(ConfigError, match=f"recipes.odd.steps: {kinds[1]} cannot follow {kinds[0]}; the order is"):
        parse_chain("odd", recipe(*({"kind": kind, **options.get(kind, {})} for kind in kinds)))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"kind": "low-rank"}, r"recipes.odd.steps.0.kind: unknown kind 'low-rank'; there are: neurons, magnitude"),
        ({"kind": "magnitude", "sparsity": 1.0}, r"recipes.odd.steps.0.sparsity: .* less than 1, got 1.0"),
        ({"kind": "magnitude"}, r"recipes.odd.steps.0.sparsity: Field required"),
        ({"kind": "neurons", "keep": 0.5, "phase": "numbers"}, r"recipes.odd.steps.0.phase: Extra inputs"),
        ({"kind": "fp16", "epochs": 3}, r"recipes.odd.steps.0.epochs: Extra inputs"),
    ],
)
def test_unknown_kinds_and_options_are_named(step: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_chain("odd", recipe(step))
