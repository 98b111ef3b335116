"""A torch module wraps a fitted LightGBM booster: it predicts by LightGBM, and exports as one TreeEnsembleRegressor."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import lightgbm

Node = dict[str, Any]


class Trees(nn.Module):
    """Trees map (n, features) float32 to (n, outputs) raw scores. Splits are numerical; NaN is a missing value.

    There is one output, or with an objective of several classes one a class.
    """

    def __init__(self, booster: "lightgbm.Booster") -> None:
        super().__init__()
        self.booster = booster

    @property
    def fitted_numbers(self) -> int:
        """Count a threshold a split and a value a leaf: these count as parameters."""
        leaves = [tree["num_leaves"] for tree in self.booster.dump_model()["tree_info"]]
        return sum(2 * number - 1 for number in leaves)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = _Predict.apply(features, self.booster)  # type: ignore[no-untyped-call]
        return result


class _Predict(torch.autograd.Function):
    """It predicts by LightGBM itself; in ONNX, by its trees."""

    @staticmethod
    def forward(_context: Any, features: Tensor, booster: "lightgbm.Booster") -> Tensor:
        values = booster.predict(features.detach().numpy().astype(np.float64), raw_score=True)
        return torch.from_numpy(np.asarray(values, dtype=np.float32).reshape(len(features), -1))

    @staticmethod
    def symbolic(graph: Any, features: Any, booster: "lightgbm.Booster") -> Any:
        attributes = ensemble_attributes(booster.dump_model())
        output = graph.op("ai.onnx.ml::TreeEnsembleRegressor", features, **attributes)
        output.setType(features.type().with_sizes([None, attributes["n_targets_i"]]))
        return output


def ensemble_attributes(dump: Node) -> dict[str, Any]:
    """Return attributes of ONNX's TreeEnsembleRegressor, with torch's type suffixes, from `dump_model()`.

    Of several outputs, each iteration has a tree for each, in turn.

    A missing value goes where training found it best; of a feature that training never saw missing, LightGBM takes it
    for 0.

    LightGBM goes left on x <= threshold with x widened from float32; the largest float32 that is not above the
    threshold decides equally for every float32.
    """
    nodes: dict[str, list[Any]] = {
        name: [] for name in ("tree", "id", "feature", "mode", "value", "true", "false", "missing")
    }
    leaves: dict[str, list[Any]] = {name: [] for name in ("tree", "id", "weight")}
    outputs = int(dump.get("num_tree_per_iteration", 1))
    for number, tree in enumerate(dump["tree_info"]):
        for place, node, left, right in _numbered(tree["tree_structure"]):
            is_leaf = left is None
            nodes["tree"].append(number)
            nodes["id"].append(place)
            nodes["feature"].append(0 if is_leaf else int(node["split_feature"]))
            nodes["mode"].append("LEAF" if is_leaf else "BRANCH_LEQ")
            nodes["value"].append(0.0 if is_leaf else float(_not_above(node["threshold"])))
            nodes["true"].append(left or 0)
            nodes["false"].append(right or 0)
            nodes["missing"].append(0 if is_leaf else int(_missing_goes_left(node)))
            if is_leaf:
                leaves["tree"].append(number)
                leaves["id"].append(place)
                leaves["weight"].append(float(node["leaf_value"]))
    return {
        "n_targets_i": outputs,
        "nodes_treeids_i": nodes["tree"],
        "nodes_nodeids_i": nodes["id"],
        "nodes_featureids_i": nodes["feature"],
        "nodes_modes_s": nodes["mode"],
        "nodes_values_f": nodes["value"],
        "nodes_truenodeids_i": nodes["true"],
        "nodes_falsenodeids_i": nodes["false"],
        "nodes_missing_value_tracks_true_i": nodes["missing"],
        "target_treeids_i": leaves["tree"],
        "target_nodeids_i": leaves["id"],
        "target_ids_i": [number % outputs for number in leaves["tree"]],
        "target_weights_f": leaves["weight"],
    }


def _numbered(root: Node) -> Iterator[tuple[int, Node, int | None, int | None]]:
    """Yield (number, node, numbers of its children) of a tree, parents first."""
    waiting, following = [(0, root)], 1
    while waiting:
        place, node = waiting.pop()
        if "leaf_value" in node:
            yield place, node, None, None
            continue
        left, right = following, following + 1
        following += 2
        yield place, node, left, right
        waiting += [(left, node["left_child"]), (right, node["right_child"])]


def _missing_goes_left(node: Node) -> bool:
    """Return where LightGBM sends NaN at a split."""
    return bool(node["threshold"] >= 0 if node["missing_type"] == "None" else node["default_left"])


def _not_above(threshold: float) -> np.float32:
    with np.errstate(over="ignore"):  # 1e300 parts all numbers from what is missing
        rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded
