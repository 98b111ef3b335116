"""What a space means as chains of steps, and wrong ones, refused by name before anything is trained."""

from typing import Any

import pytest
from torch import nn

from tasks.compression.options import Recipe, Search
from tasks.compression.search.space import Dimension, Space, default_space, parse_space
from tasks.core.config import Spec
from tasks.core.errors import ConfigError


def parse(*entries: dict[str, Any]) -> Space:
    return parse_space("smallest", [Spec.model_validate(entry) for entry in entries])


def steps(space: Space, **values: Any) -> list[dict[str, Any]]:
    named = {name.replace("__", "."): value for name, value in values.items()}
    point = {item.name: item.values.index(named[item.name]) for item in space.dimensions}
    return [step.model_dump() for step in space.steps(point)]


def test_a_range_has_twenty_steps_and_its_ends() -> None:
    keep, epochs, samples = parse(
        {"kind": "neurons", "keep": [0.25, 0.75], "epochs": [1, 3]}, {"kind": "int8-static", "samples": [64, 512]}
    ).dimensions
    assert keep.values[:3] == (0.25, 0.275, 0.3) and keep.values[-1] == 0.75 and len(keep.values) == 21
    assert epochs == Dimension("neurons.epochs", (1, 2, 3), ordered=True)
    assert len(samples.values) == 21 and {type(value) for value in samples.values} == {int}


def test_a_point_is_a_chain_and_a_step_that_changes_nothing_is_left_out() -> None:
    space = parse(
        {"kind": "neurons", "keep": [0.5, 1.0], "epochs": 2},
        {"kind": "magnitude", "sparsity": [0, 0.8]},
        {"kind": "numbers", "choices": ["none", "fp16"]},
    )
    assert steps(space, neurons__keep=0.75, magnitude__sparsity=0.4, numbers="fp16") == [
        {"kind": "neurons", "keep": 0.75, "epochs": 2},
        {"kind": "magnitude", "sparsity": 0.4},
        {"kind": "fp16"},
    ]
    assert steps(space, neurons__keep=1.0, magnitude__sparsity=0.0, numbers="none") == []


def test_other_lists_are_choices_and_rising_numbers_are_in_order() -> None:
    space = parse({"kind": "int8-static", "samples": [64, 128, 256], "per_channel": [True, False]})
    assert space.dimensions == (
        Dimension("int8-static.samples", (64, 128, 256), ordered=True),
        Dimension("int8-static.per_channel", (True, False)),
    )
    (samples,) = parse({"kind": "int8-static", "samples": [256, 64, 128]}).dimensions
    assert not samples.ordered


def test_openers_are_the_formats_alone() -> None:
    space = parse({"kind": "neurons", "keep": [0.5, 1.0]}, {"kind": "numbers", "choices": ["none", "fp16"]})
    assert space.openers() == [{"neurons.keep": 20, "numbers": 0}, {"neurons.keep": 20, "numbers": 1}]
    assert parse({"kind": "neurons", "keep": [0.5, 0.9]}).openers() == []


def test_the_default_offers_what_the_model_has(network: Any) -> None:
    for model, kinds in ((network, ["neurons", "low-rank", "numbers"]), (nn.Softmax(dim=1), ["numbers"])):
        specs = default_space(model)
        assert [spec.kind for spec in specs] == kinds
        assert parse_space("smallest", specs).dimensions[-1].values[:3] == ("none", "fp16", "int8-weights")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "shrink", "keep": [0.1, 0.2]}, r"space\.0\.kind: unknown kind 'shrink'; there are: "),
        ({"kind": "neurons", "keep": [0.5, 1.5]}, r"space\.0\.keep of kind neurons: .*less than 1, got 1"),
        ({"kind": "neurons", "keep": [0.9, 0.5]}, r"space\.0\.keep: expected \[low, high\] with low < high"),
        ({"kind": "neurons", "keep": []}, r"space\.0\.keep: expected \[low, high\] or a list of values"),
        ({"kind": "neurons", "keep": [0.5, 0.9], "rate": 3}, r"space\.0\.rate of kind neurons: Extra inputs"),
        ({"kind": "neurons"}, r"space\.0\.keep of kind neurons: Field required"),
        ({"kind": "numbers", "choices": ["none", "magnitude"]}, r"space\.0\.choices.*expected some of none, "),
        ({"kind": "numbers", "choices": []}, r"space\.0\.choices.*expected some of none, "),
        ({"kind": "numbers"}, r"space\.0\.choices.*Field required"),
    ],
)
def test_a_wrong_entry_is_refused_by_the_fields_name(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^recipes\.smallest\.search\.{message}"):
        parse(entry)


def test_an_order_that_no_chain_may_have_and_a_kind_twice_are_refused() -> None:
    neurons, magnitude = {"kind": "neurons", "keep": [0.5, 1.0]}, {"kind": "magnitude", "sparsity": [0, 0.5]}
    with pytest.raises(ConfigError, match=r"recipes\.smallest\.search\.space: neurons cannot follow magnitude"):
        parse(magnitude, neurons)
    with pytest.raises(ConfigError, match=r"recipes\.smallest\.search\.space: neurons stands there twice"):
        parse(neurons, neurons)
    with pytest.raises(ConfigError, match=r"search\.space: fp16 cannot follow"):
        parse({"kind": "int8-dynamic"}, {"kind": "numbers", "choices": ["none", "fp16"]})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"limits": {"bytes": 9}}, "minimise: bytes needs a limit on error or retention"),
        (
            {"limits": {"error": 0.5}, "minimise": "error"},
            "minimise: error needs a limit on bytes, parameters or latency_ratio",
        ),
        ({"limits": {"error": 0.5}, "minutes": 26}, "minutes"),
        ({"limits": {"error": 0.5}, "trials": 0}, "trials"),
        ({"limits": {"error": 0.5}, "minimise": "parameters"}, "minimise"),
        ({"limits": {"error": 0.5, "size": 9}}, "limits.size"),
    ],
)
def test_a_wrong_section_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Search.model_validate(section)


def test_a_recipe_has_steps_or_a_search() -> None:
    with pytest.raises(ValueError, match="a recipe has either steps or a search"):
        Recipe.model_validate({"steps": [{"kind": "fp16"}], "search": {"limits": {"error": 0.5}}})
    assert Recipe().search is None
