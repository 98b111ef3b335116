"""The feature contract is JSON in `contract.json` beside features and in releases, and compared with tonight's."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.contract import Contract
from serving.contract.contract import codes_json, histories_json
from serving.contract.images import images_json
from tasks.problems.base import FeatureContract


def contract_to_json(contract: FeatureContract) -> dict[str, Any]:
    """Return plain data for `write_json`. JSON files are written sorted, so orders are kept in lists of their own."""
    return {
        "problem": contract.problem,
        "inputs": contract.inputs,
        "order": list(contract.inputs),
        "output_shape": contract.output_shape,
        "categories": contract.categories,
        "category_order": list(contract.categories),
        "codes": codes_json(contract.codes),
        "limits": contract.limits,
        **({"histories": histories_json(contract.histories)} if contract.histories else {}),
        **({"images": images_json(contract.images)} if contract.images else {}),
        **({"choice": contract.choice, "repeats": contract.repeats} if contract.choice else {}),
        **({"tokens": {name: item.to_json() for name, item in contract.tokens.items()}} if contract.tokens else {}),
        "statistics": contract.statistics,
        "settings": contract.settings,
    }


def contract_from_json(data: Mapping[str, Any]) -> FeatureContract:
    """Return the contract of a contract.json, also of an old one, which does not say where the codes of inputs begin.

    Raises ValueError or TypeError when it is none.
    """
    read = Contract.from_json(data)
    if not isinstance(data.get("statistics"), Mapping):
        raise TypeError("no contract: `statistics` is no object")
    return FeatureContract(
        problem=read.problem,
        inputs={name: (item.dtype, item.shape) for name, item in read.inputs.items()},
        output_shape=read.output_shape,
        categories=read.categories,
        statistics=data["statistics"],
        settings=read.settings,
        codes={name: item.books for name, item in read.coded.items()},
        limits={name: (low, high) for name, (low, high) in data.get("limits", {}).items()},
        histories={name: item.book for name, item in read.histories.items()},
        images={name: {"fit": item.fit, "most_pixels": item.most_pixels} for name, item in read.images.items()},
        choice=read.choice,
        repeats=read.repeats,
        tokens=read.texts,
    )


def differing_options(theirs: Any, ours: Any, equal: Sequence[str], free: Sequence[str]) -> list[str]:
    """Return the differing options of both lists. Raises ValueError naming the first `equal` one that differs."""
    differing = [name for name in dict.fromkeys((*equal, *free)) if getattr(theirs, name) != getattr(ours, name)]
    for name in differing:
        if name in equal:
            raise ValueError(f"its problem.{name} is {getattr(theirs, name)}, tonight's is {getattr(ours, name)}")
    return differing
