"""An ONNX file is all that its digest covers: whatever would be read beside it is refused."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.contract.onnx_file import ExternalData, require_self_contained


def tensor(name: str, *, external: bool) -> onnx.TensorProto:
    made = numpy_helper.from_array(np.ones(4, np.float32), name)
    if external:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="weights.bin")
    return made


def model(place: str, *, external: bool) -> bytes:
    """A model with one tensor at a place where tensors may stand."""
    weight = tensor("w", external=external)
    node = helper.make_node("Mul", ["x", "w"], ["output"])
    graph = helper.make_graph([node], "g", [], [], [])
    made = helper.make_model(graph)
    if place == "initializer":
        made.graph.initializer.append(weight)
    elif place == "constant":
        made.graph.node.append(helper.make_node("Constant", [], ["c"], value=weight))
    elif place == "sparse":
        made.graph.sparse_initializer.append(onnx.SparseTensorProto(values=weight, dims=[4]))
    elif place == "branch":
        branch = helper.make_graph([], "b", [], [], [weight])
        made.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch))
    elif place == "function":
        inner = helper.make_node("Constant", [], ["c"], value=weight)
        made.functions.append(helper.make_function("d", "f", [], ["c"], [inner], [helper.make_opsetid("", 20)]))
    else:
        made.training_info.add(algorithm=helper.make_graph([], "t", [], [], [weight]))
    data: bytes = made.SerializeToString()
    return data


@pytest.mark.parametrize("place", ["initializer", "constant", "sparse", "branch", "function", "training"])
def test_external_data_are_found_wherever_a_tensor_may_stand(place: str) -> None:
    require_self_contained(model(place, external=False))
    with pytest.raises(ExternalData, match="its weights lie in another file"):
        require_self_contained(model(place, external=True))


def test_what_is_no_onnx_file_is_refused() -> None:
    good = model("initializer", external=False)
    for bad in (b"\x00", b"ORTM", b"\x08\x00\x00\x00ORTM", good[:-3], b"\xff" * 20, b"\x38\x01"):
        with pytest.raises(ValueError, match="no ONNX file"):
            require_self_contained(bad)


def test_any_bytes_end_in_an_answer() -> None:
    good = model("branch", external=False)
    for seed in range(300):
        chance = np.random.default_rng(seed)
        data = bytearray(good)
        for _ in range(4):
            data[int(chance.integers(len(data)))] = int(chance.integers(256))
        with contextlib.suppress(ValueError):
            require_self_contained(bytes(data))


def test_weights_in_the_working_folder_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.client.champion import Model

    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(np.ones(4, np.float32).tobytes())
    with pytest.raises(ExternalData):
        Model(None, None, model("initializer", external=True), 1)  # type: ignore[arg-type]
