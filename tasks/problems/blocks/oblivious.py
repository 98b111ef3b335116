"""A torch module wraps a fitted CatBoost model: it predicts by CatBoost, and exports as one TreeEnsembleRegressor."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import catboost

Model = dict[str, Any]


class ObliviousTrees(nn.Module):
    """ObliviousTrees map (n, features) float32 to (n, outputs) raw scores; each level of a tree has one split.

    NaN is a missing value, below all others.
    """

    def __init__(self, model: "catboost.CatBoost") -> None:
        super().__init__()
        self.model = model

    @property
    def fitted_numbers(self) -> int:
        """Count a threshold a level and the values of the leaves: these count as parameters."""
        trees = dump(self.model)["oblivious_trees"]
        return sum(len(tree["splits"]) + len(tree["leaf_values"]) for tree in trees)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = _Predict.apply(features, self.model)  # type: ignore[no-untyped-call]
        return result


class _Predict(torch.autograd.Function):
    """It predicts by CatBoost itself; in ONNX, by its trees."""

    @staticmethod
    def forward(_context: Any, features: Tensor, model: "catboost.CatBoost") -> Tensor:
        values = model.predict(features.detach().numpy(), prediction_type="RawFormulaVal", thread_count=1)
        return torch.from_numpy(np.asarray(values, dtype=np.float32).reshape(len(features), -1))

    @staticmethod
    def symbolic(graph: Any, features: Any, model: "catboost.CatBoost") -> Any:
        attributes = ensemble_attributes(dump(model))
        output = graph.op("ai.onnx.ml::TreeEnsembleRegressor", features, **attributes)
        output.setType(features.type().with_sizes([None, attributes["n_targets_i"]]))
        return output


def dump(model: "catboost.CatBoost") -> Model:
    """Return a model's trees, as CatBoost writes them in JSON."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        found: Model = json.loads(path.read_text())
    return found


def ensemble_attributes(trees: Model) -> dict[str, Any]:
    """Return attributes of ONNX's TreeEnsembleRegressor, with torch's type suffixes, from `dump()`.

    A tree of depth d becomes a full one of 2^(d + 1) - 1 nodes, numbered by level. In CatBoost's leaf numbers the first
    split is the lowest bit, 1 for x > border, which NaN never is; in leaves of several outputs each leaf has one value
    an output. Borders are float32, as the features that they are compared with.
    """
    scale, biases = trees["scale_and_bias"]
    nodes: dict[str, list[Any]] = {name: [] for name in ("tree", "id", "feature", "mode", "value", "true", "false")}
    leaves: dict[str, list[Any]] = {name: [] for name in ("tree", "id", "output", "weight")}
    for number, tree in enumerate(trees["oblivious_trees"]):
        splits = tree["splits"] or []
        depth, values = len(splits), tree["leaf_values"]
        for place in range(2 ** (depth + 1) - 1):
            level = (place + 1).bit_length() - 1
            is_leaf = level == depth
            split = {} if is_leaf else splits[level]
            nodes["tree"].append(number)
            nodes["id"].append(place)
            nodes["feature"].append(split.get("float_feature_index", 0))
            nodes["mode"].append("LEAF" if is_leaf else "BRANCH_LEQ")
            nodes["value"].append(0.0 if is_leaf else float(np.float32(split["border"])))
            nodes["true"].append(0 if is_leaf else 2 * place + 1)
            nodes["false"].append(0 if is_leaf else 2 * place + 2)
            if is_leaf:
                path = place + 1 - 2**depth  # the first split's side is its highest bit
                leaf = sum(((path >> (depth - 1 - bit)) & 1) << bit for bit in range(depth))
                for output in range(len(biases)):
                    leaves["tree"].append(number)
                    leaves["id"].append(place)
                    leaves["output"].append(output)
                    leaves["weight"].append(scale * values[leaf * len(biases) + output])
    return {
        "n_targets_i": len(biases),
        "base_values_f": [float(bias) for bias in biases],
        "nodes_treeids_i": nodes["tree"],
        "nodes_nodeids_i": nodes["id"],
        "nodes_featureids_i": nodes["feature"],
        "nodes_modes_s": nodes["mode"],
        "nodes_values_f": nodes["value"],
        "nodes_truenodeids_i": nodes["true"],
        "nodes_falsenodeids_i": nodes["false"],
        "nodes_missing_value_tracks_true_i": [int(mode != "LEAF") for mode in nodes["mode"]],
        "target_treeids_i": leaves["tree"],
        "target_nodeids_i": leaves["id"],
        "target_ids_i": leaves["output"],
        "target_weights_f": leaves["weight"],
    }
