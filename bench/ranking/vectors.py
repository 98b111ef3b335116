"""This module opens a released file of `decayed-sum`, `gru` or `transformer`, for an index at the consumer's side."""

import onnx

USER, ITEMS, BIAS = "user", "item_vectors", "item_bias"


def opened(model: bytes) -> bytes:
    """Return a file that gives USER (n, d), ITEMS (d, items) and BIAS (items,) in place of scores, as float32.

    The score of an item is the product of both vectors and its bias. Raises ValueError where scores are made otherwise.
    """
    proto = onnx.load_model_from_string(model)
    made_by = {name: node for node in proto.graph.node for name in node.output}
    added = made_by.get("output")
    product = made_by.get(added.input[0]) if added is not None and added.op_type == "Add" else None
    if added is None or product is None or product.op_type != "MatMul":
        raise ValueError("output: expected the product of a user's vector with those of the items, and a bias")
    names = {USER: product.input[0], ITEMS: product.input[1], BIAS: added.input[1]}
    del proto.graph.output[:]
    for name, inner in names.items():
        proto.graph.node.append(onnx.helper.make_node("Identity", [inner], [name]))
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    data: bytes = proto.SerializeToString()
    return data
