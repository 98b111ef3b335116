"""Exported files: torch's answers, any batch, equal bytes every time, and nothing of the machine in them."""

import getpass
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from tasks.compression.export import export_onnx
from tasks.compression.onnx_graph import strip
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.distillation.teacher import Mean
from tasks.problems.base import Batches, Inputs
from tasks.problems.blocks.outputs import outputs
from tasks.problems.models import build_model

MODELS: dict[str, list[dict[str, Any]]] = {
    "student": [{"kind": "linear-mlp", "hidden": 8}],
    "lstm teacher": [{"kind": "lstm", "hidden": 8, "layers": 2, "embedding": 3}] * 2,
    "tcn teacher": [{"kind": "tcn", "channels": 8, "layers": 4, "hidden": 8}] * 2,
}


def model_of(sales: Any, name: str) -> nn.Module:
    torch.manual_seed(2)
    members = [build_model(Spec.model_validate(spec), sales.dataset.contract) for spec in MODELS[name]]
    return Mean(members) if len(members) > 1 else members[0]


def inputs_of(sales: Any, rows: int, start: int = 0) -> Inputs:
    inputs: Inputs = sales.dataset.inputs(np.arange(start, start + rows))
    return inputs


def exported(sales: Any, name: str) -> bytes:
    return export_onnx(model_of(sales, name), sales.dataset.contract, inputs_of(sales, 2))


@pytest.fixture(scope="module")
def files(sales: Any) -> dict[str, bytes]:
    """Every model's file, exported once."""
    return {name: exported(sales, name) for name in MODELS}


def traces(data: bytes) -> set[str]:
    """Words in a file that tell by whom, where or with what it was made."""
    machine = {getpass.getuser(), socket.gethostname(), str(Path.cwd()), sys.prefix, str(Path.home())}
    words = {*machine, "/tmp", "/home", "/work", "site-packages", ".py", "torch"}
    return {word for word in words if len(word) > 2 and word.encode() in data}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [1, 7])
def test_a_file_gives_what_torch_gives_at_any_batch(sales: Any, files: dict[str, bytes], name: str, rows: int) -> None:
    inputs = inputs_of(sales, rows, start=20)
    output = run_onnx(files[name], inputs)
    expected = outputs(model_of(sales, name), Batches.of(inputs))
    assert output.shape == (rows, 5, 4) and output.dtype == np.float32
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-4)
    assert expected.max() > 1 and len(np.unique(expected)) > rows
    with torch.no_grad():
        other = model_of(sales, name)
        next(other.parameters()).add_(0.5)
    assert not np.allclose(output, outputs(other, Batches.of(inputs)), rtol=1e-5, atol=1e-4), (
        "other weights, equal answers"
    )


@pytest.mark.parametrize("name", MODELS)
def test_equal_weights_give_equal_bytes_and_other_weights_others(
    sales: Any, files: dict[str, bytes], name: str
) -> None:
    first = files[name]
    model = model_of(sales, name)
    assert export_onnx(model, sales.dataset.contract, inputs_of(sales, 7, start=30)) == first, "the example's rows show"
    with torch.no_grad():
        next(model.parameters()).add_(0.5)
    assert export_onnx(model, sales.dataset.contract, inputs_of(sales, 2)) != first


@pytest.mark.parametrize("name", MODELS)
def test_a_file_tells_nothing_of_the_machine(files: dict[str, bytes], name: str) -> None:
    assert traces(files[name]) == set()


def test_traces_of_a_machine_are_found_and_removed(files: dict[str, bytes]) -> None:
    model, clean = (onnx.load_model_from_string(files["student"]) for _ in range(2))
    note = f"{getpass.getuser()}@{socket.gethostname()} {Path.cwd()}/model.py, pytorch"
    model.producer_name, model.producer_version, model.doc_string, model.domain = "pytorch", "2", note, note
    model.graph.doc_string, model.graph.name = note, "torch_jit"
    for item in (model.graph.node[0], model.graph.input[0], model.graph.output[0], model.graph.initializer[0]):
        item.doc_string = note
        item.metadata_props.add(key="pkg.torch.stack_trace", value=note)
    for place in (model.metadata_props, model.graph.metadata_props):
        place.add(key="made", value=note)
    model.graph.node[0].name = f"{Path.cwd()}/model.py"
    model.graph.value_info.append(helper.make_tensor_value_info("torch_inner", onnx.TensorProto.FLOAT, [1]))
    assert {getpass.getuser(), str(Path.cwd()), ".py", "torch"} <= traces(model.SerializeToString())
    strip(model)
    strip(clean)
    assert traces(model.SerializeToString()) == set()
    assert model.SerializeToString(deterministic=True) == clean.SerializeToString(deterministic=True)


def test_the_graph_states_its_contract(files: dict[str, bytes]) -> None:
    model = onnx.load_model_from_string(files["student"])

    def stated(value: Any) -> tuple[str, int, list[str | int]]:
        shape = value.type.tensor_type.shape.dim
        return value.name, value.type.tensor_type.elem_type, [dim.dim_param or dim.dim_value for dim in shape]

    assert [stated(value) for value in [*model.graph.input, *model.graph.output]] == [
        ("units", onnx.TensorProto.FLOAT, ["batch", 14]),
        ("observed", onnx.TensorProto.FLOAT, ["batch", 14]),
        ("future", onnx.TensorProto.FLOAT, ["batch", 5, 5]),
        ("static", onnx.TensorProto.INT64, ["batch", 3]),
        ("output", onnx.TensorProto.FLOAT, ["batch", 5, 4]),
    ]
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 20)]
    assert not [node for node in model.graph.node if node.op_type in ("Constant", "Dropout")]
    names = [tensor.name for tensor in model.graph.initializer]
    values = [(tensor.dims, tensor.raw_data) for tensor in model.graph.initializer]
    assert len(names) == len(set(names)) and len(values) > 5


def test_an_input_that_the_model_does_not_read_stays_in_the_contract(sales: Any) -> None:
    problem = sales.problem(static=[])
    dataset = problem.features({"series": sales.table()}, sales.as_of)
    model = build_model(Spec(kind="linear-mlp", hidden=4), dataset.contract)
    inputs = dataset.inputs(np.arange(3))
    output = run_onnx(export_onnx(model, dataset.contract, inputs), inputs)
    np.testing.assert_allclose(output, outputs(model, Batches.of(inputs)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_exporting_leaves_the_model_in_its_mode_and_dropout_out_of_the_file(sales: Any, training: bool) -> None:
    torch.manual_seed(0)
    model = build_model(Spec(kind="lstm", hidden=8, dropout=0.9), sales.dataset.contract).train(training)
    data = export_onnx(model, sales.dataset.contract, inputs_of(sales, 2))
    assert model.training is training
    inputs = inputs_of(sales, 3)
    np.testing.assert_allclose(run_onnx(data, inputs), outputs(model, Batches.of(inputs)), rtol=1e-5, atol=1e-4)


def test_rows_are_computed_in_batches_and_no_rows_give_no_output(sales: Any, files: dict[str, bytes]) -> None:
    data, inputs = files["student"], inputs_of(sales, 7)
    np.testing.assert_allclose(run_onnx(data, inputs, batch=3), run_onnx(data, inputs), rtol=1e-5)
    assert run_onnx(data, inputs, batch=3).shape == (7, 5, 4)
    assert run_onnx(data, inputs_of(sales, 0)).shape == (0, 5, 4)
