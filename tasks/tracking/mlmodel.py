"""This module writes the file by which MLflow opens a release: its flavours, and the model's input and output arrays.

The format is MLflow's own (https://mlflow.org/docs/latest/ml/model/); it is written here without the library, whose
import takes longer than a promotion.
"""

import json
from collections.abc import Iterable
from typing import Any

import yaml

from tasks.releases.store import INPUT_EXAMPLE, MODEL


def mlmodel(model: bytes, *, example: bool) -> bytes:
    """Return a release's MLmodel, with the signature of an ONNX `model`; `example`: INPUT_EXAMPLE lies beside it."""
    flavors = {
        "onnx": {"data": MODEL, "code": None, "providers": ["CPUExecutionProvider"]},
        "python_function": {"loader_module": "mlflow.onnx", "data": MODEL},
    }
    content: dict[str, Any] = {"flavors": flavors}
    if signature := _signature(model):
        content["signature"] = signature
        if example:
            content["saved_input_example_info"] = {"artifact_path": INPUT_EXAMPLE, "type": "ndarray"}
    return yaml.safe_dump(content, sort_keys=True).encode()


def _signature(model: bytes) -> dict[str, str | None] | None:
    """Return names, types and shapes of inputs and outputs; None for bytes that are no ONNX file."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load_model_from_string(model).graph
    except DecodeError:
        return None
    return {"inputs": _tensors(graph.input), "outputs": _tensors(graph.output), "params": None}


def _tensors(values: Iterable[Any]) -> str:
    from onnx.helper import tensor_dtype_to_np_dtype

    return json.dumps(
        [
            {
                "name": value.name,
                "type": "tensor",
                "tensor-spec": {
                    "dtype": str(tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
                    "shape": [size.dim_value or -1 for size in value.type.tensor_type.shape.dim],
                },
            }
            for value in values
        ]
    )
