"""The feature contract: as JSON in `contract.json` beside features and in every release, and held against tonight's."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tasks.problems.base import FeatureContract


def contract_to_json(contract: FeatureContract) -> dict[str, Any]:
    """Plain data for `write_json`. JSON files are written sorted, so orders are kept in lists of their own."""
    return {**asdict(contract), "order": list(contract.inputs), "category_order": list(contract.categories)}


def contract_from_json(data: Mapping[str, Any]) -> FeatureContract:
    """The contract that `contract_to_json` wrote. Without `category_order`, categories stand in the file's order."""
    return FeatureContract(
        problem=data["problem"],
        inputs={name: (data["inputs"][name][0], tuple(data["inputs"][name][1])) for name in data["order"]},
        output_shape=tuple(data["output_shape"]),
        categories={name: tuple(data["categories"][name]) for name in data.get("category_order", data["categories"])},
        statistics=data["statistics"],
        settings=data["settings"],
    )


def differing_options(theirs: Any, ours: Any, equal: Sequence[str], free: Sequence[str]) -> list[str]:
    """Names of the options that differ, out of both lists. Raises ValueError naming the first `equal` one that does."""
    differing = [name for name in dict.fromkeys((*equal, *free)) if getattr(theirs, name) != getattr(ours, name)]
    for name in differing:
        if name in equal:
            raise ValueError(f"its problem.{name} is {getattr(theirs, name)}, tonight's is {getattr(ours, name)}")
    return differing
