"""Finishing an ONNX graph: no traces of where it was made, nothing redundant, short names, equal bytes every time."""

import numpy as np
import onnx
from onnx import numpy_helper

FOLDED = frozenset({"Cast", "QuantizeLinear", "Transpose"})


def to_bytes(model: onnx.ModelProto) -> bytes:
    """The finished file of `model`, which is stripped in place. Raises onnx.checker.ValidationError on a bad graph."""
    strip(model)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def strip(model: onnx.ModelProto) -> None:
    """Remove in place whatever tells where or with what the file was made, and whatever computing does not need.

    Doc strings, metadata, producer, inner shapes, unused nodes, tensors and operator sets, attributes at their
    default, and equal tensors but one. Inputs and outputs keep their names, all other values are n0, n1, ...;
    operators are known by their place and have none. Stripping twice changes nothing more.
    """
    model.producer_name = "nightstill"
    model.producer_version = model.domain = model.doc_string = ""
    graph = model.graph
    graph.name = "model"
    graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:], graph.quantization_annotation[:]
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
    for item in [*graph.initializer, *graph.input, *graph.output]:
        item.doc_string = ""
        del item.metadata_props[:]
    _drop_defaults(model)
    if not any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        _drop_unused(graph)
        _store_equal_tensors_once(graph)
        _shorten_names(graph)
    _drop_unused_operator_sets(model)


def fold_constants(graph: onnx.GraphProto) -> None:
    """Compute, in place, the casts, quantizations and transpositions of stored tensors.

    Tracing leaves them to the runtime, with the wide tensor in the file. DequantizeLinear is not among them, so
    quantized weights stay narrow.
    """
    if not any(_foldable(node, _tensors(graph)) for node in graph.node):
        return
    from onnx.reference import ReferenceEvaluator

    tensors, kept = _tensors(graph), []
    for node in graph.node:
        if not _foldable(node, tensors):
            kept.append(node)
            continue
        values = {name: numpy_helper.to_array(tensors[name]) for name in node.input}
        (result,) = ReferenceEvaluator(node).run(None, values)
        tensors[node.output[0]] = numpy_helper.from_array(np.asarray(result), node.output[0])
        graph.initializer.append(tensors[node.output[0]])
    _replace(graph.node, kept)


def _foldable(node: onnx.NodeProto, tensors: dict[str, onnx.TensorProto]) -> bool:
    return node.op_type in FOLDED and all(name in tensors for name in node.input)


def _tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}


def _replace(field: object, items: list[onnx.NodeProto] | list[onnx.TensorProto]) -> None:
    del field[:]  # type: ignore[attr-defined]  # protobuf's repeated fields have no public type
    field.extend(items)  # type: ignore[attr-defined]


def _drop_defaults(model: onnx.ModelProto) -> None:
    """Attributes that say what their absence says, and unused inputs at the end."""
    versions = {item.domain: item.version for item in model.opset_import}
    for node in model.graph.node:
        while node.input and not node.input[-1]:
            del node.input[-1]
        if not onnx.defs.has(node.op_type, node.domain):
            continue
        known = onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain).attributes
        kept = [
            attribute
            for attribute in node.attribute
            if attribute.name not in known or attribute != known[attribute.name].default_value
        ]
        del node.attribute[:]
        node.attribute.extend(kept)


def _drop_unused(graph: onnx.GraphProto) -> None:
    needed = {item.name for item in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    _replace(graph.node, kept[::-1])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])


def _store_equal_tensors_once(graph: onnx.GraphProto) -> None:
    outputs = {item.name for item in graph.output}
    first, renamed, kept = dict[bytes, str](), dict[str, str](), []
    for tensor in graph.initializer:
        name, tensor.name = tensor.name, ""
        same = first.setdefault(tensor.SerializeToString(deterministic=True), name)
        tensor.name = name
        if same == name or name in outputs:
            kept.append(tensor)
        else:
            renamed[name] = same
    _replace(graph.initializer, kept)
    _rename(graph, renamed)


def _shorten_names(graph: onnx.GraphProto) -> None:
    fixed = {item.name for item in [*graph.input, *graph.output]}
    inner = [tensor.name for tensor in graph.initializer] + [name for node in graph.node for name in node.output]
    free = (name for number in range(len(inner) + len(fixed)) if (name := f"n{number}") not in fixed)
    _rename(graph, {name: next(free) for name in inner if name and name not in fixed})


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _drop_unused_operator_sets(model: onnx.ModelProto) -> None:
    used = {"", *(node.domain for node in model.graph.node)}
    kept = [item for item in model.opset_import if item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
