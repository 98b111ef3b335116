"""Export turns a torch module into ONNX bytes that hold nothing but the graph."""

import io
import warnings

import onnx
import torch
from onnx import helper
from torch import nn

from tasks.compression.choice import add_choice
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.regular import as_rule
from tasks.compression.runtime import OUTPUT
from tasks.compression.weights import narrow_weights
from tasks.problems.base import FeatureContract, Inputs
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.blocks.vectors import Kept

OPSET = 20


def export_onnx(model: nn.Module, contract: FeatureContract, example: Inputs) -> bytes:
    """Return ONNX bytes of `model` with a dynamic batch axis; equal weights give equal bytes.

    `example`: a few rows for tracing. Inputs are named as in the contract, in its order; the output is "output".
    The tracing exporter is used on purpose: for the students and teachers here its graphs have fewer nodes and
    bytes, run faster at batch 1 than those of the torch.export-based one, and take 0.1 s instead of 5 to 9 s.
    The module's training flag is restored afterwards.
    """
    names = list(inputs_of(model, contract.inputs))
    arguments = tuple(torch.from_numpy(example[name]) for name in names)
    buffer = io.BytesIO()
    was_training = model.training
    model.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                arguments,
                buffer,  # type: ignore[arg-type]  # the tracing exporter writes to streams too
                dynamo=False,
                do_constant_folding=not any(isinstance(part, Kept) for part in model.modules()),  # tables stay small
                opset_version=OPSET,
                input_names=names,
                output_names=[OUTPUT],
                dynamic_axes={name: {0: "batch"} for name in [*names, OUTPUT]},
            )
    finally:
        model.train(was_training)
    graph = onnx.load_model_from_string(buffer.getvalue())
    _constants_to_initializers(graph.graph)
    _declare_output(graph.graph, contract)
    if contract.choice:
        add_choice(graph.graph, contract)
    narrow_weights(graph.graph, as_rule)
    return to_bytes(graph)


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Constant nodes become initializers, so that equal values are stored once."""
    kept = []
    for node in graph.node:
        if node.op_type != "Constant" or node.attribute[0].name != "value":
            kept.append(node)
            continue
        tensor = node.attribute[0].t
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(kept)


def _declare_output(graph: onnx.GraphProto, contract: FeatureContract) -> None:
    """State the output's full shape, which tracing leaves partly open."""
    shape: list[str | int | None] = ["batch", *contract.output_shape]
    graph.output[0].CopyFrom(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, shape))
