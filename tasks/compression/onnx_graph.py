"""This module finishes an ONNX graph: no traces of its origin, nothing redundant, short names, equal bytes always."""

from typing import Any

import onnx


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Return the finished file of `model`, stripped in place. Raises onnx.checker.ValidationError on a bad graph."""
    strip(model)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def strip(model: onnx.ModelProto) -> None:
    """Remove in place all traces of where and by which tools the file was made, and all that computing does not need.

    Doc strings, metadata, producer, inner shapes, identities, unused nodes, tensors and operator sets, attributes at
    their default, and equal tensors but one. Inputs and outputs keep their names, all other values are n0, n1, ...;
    operators are known by their place and have none. Stripping twice changes nothing more.
    """
    graph = model.graph
    _clear(model, "producer_version", "domain", "doc_string", "metadata_props")
    _clear(graph, "doc_string", "metadata_props", "value_info", "quantization_annotation")
    model.producer_name = "nightstill"
    graph.name = "model"
    for node in graph.node:
        _clear(node, "name", "doc_string", "metadata_props")
    for item in [*graph.initializer, *graph.input, *graph.output]:
        _clear(item, "doc_string", "metadata_props")
    _drop_defaults(model)
    if not any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        _skip_identities(graph)
        _drop_unused(graph)
        _store_equal_tensors_once(graph)
        _shorten_names(graph)
    _drop_unused_operator_sets(model)


def _clear(message: Any, *fields: str) -> None:
    """Unset fields: an empty text takes two bytes, none takes none."""
    for field in fields:
        message.ClearField(field)


def _skip_identities(graph: onnx.GraphProto) -> None:
    outputs, same = {item.name for item in graph.output}, dict[str, str]()
    for node in graph.node:
        if node.op_type == "Identity" and node.output[0] not in outputs:
            same[node.output[0]] = same.get(node.input[0], node.input[0])
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]


def _replace(field: Any, items: list[onnx.NodeProto] | list[onnx.TensorProto]) -> None:
    del field[:]
    field.extend(items)


def _drop_defaults(model: onnx.ModelProto) -> None:
    """Remove attributes that equal their default, and unused inputs at the end."""
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
