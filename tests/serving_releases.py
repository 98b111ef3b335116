"""Small real releases for the tests of consumers: output = x * factor + the sum of a table's rows by code."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tasks.core.config import Spec
from tasks.core.storage import FolderStore, open_store
from tasks.problems import get_problem
from tasks.problems.base import FeatureContract
from tasks.problems.contracts import contract_to_json
from tasks.releases.ledger import Entry
from tasks.releases.manifest import build, sha256
from tasks.releases.signing import load_keys
from tasks.releases.store import ReleaseStore

Files = dict[str, bytes]
TABLE = np.array([0.0, 10.0, 20.0], np.float32)
# `spare` is in the contract, and the model does not read it. `table` has a row for each code of the longer book.
CONTRACT: dict[str, Any] = {
    "problem": "forecasting",
    "inputs": {"x": ["float32", [2, 3]], "codes": ["int64", [2]], "spare": ["float32", [1]]},
    "order": ["x", "codes", "spare"],
    "output_shape": [2, 3],
    "categories": {"store": ["<unknown>", "s1", "s2"], "day": ["0", "1"]},
    "category_order": ["store", "day"],
    "codes": {"codes": [{"column": "store", "first": 0}, {"column": "day", "first": 0}]},
    "statistics": {},
    "settings": {"options": {}},
}


def model(factor: float) -> bytes:
    """ONNX bytes."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["scaled"]),
        helper.make_node("Gather", ["table", "codes"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axes"], ["sums"], keepdims=1),
        helper.make_node("Unsqueeze", ["sums", "axes"], ["added"]),
        helper.make_node("Add", ["scaled", "added"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 3]),
            helper.make_tensor_value_info("codes", TensorProto.INT64, ["batch", 2]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2, 3])],
        [
            helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor]),
            helper.make_tensor("table", TensorProto.FLOAT, [len(TABLE)], TABLE),
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = made.SerializeToString()
    return data


def inputs(rows: int = 2) -> dict[str, NDArray[Any]]:
    """Good ones."""
    x = np.arange(rows * 6, dtype=np.float32).reshape(rows, 2, 3)
    return {"x": x, "codes": np.tile(np.array([[1, 1]], np.int64), (rows, 1))}


def expected(factor: float, rows: int = 2) -> NDArray[Any]:
    """What a release with this factor says to them: twice the table's row 1 is added."""
    return np.asarray(inputs(rows)["x"] * np.float32(factor) + 20)


def open_releases(uri: str | Path, private: str = "") -> ReleaseStore:
    """The releases of workload `sales`."""
    return ReleaseStore(open_store(str(uri)), "sales", load_keys(private))


def promote(releases: ReleaseStore, factor: float, **files: bytes) -> Entry:
    """Release a model with this factor."""
    last = releases.champion()
    content = {"model.onnx": model(factor), "contract.json": json.dumps(CONTRACT).encode(), "card.md": b"# card"}
    return releases.publish(
        {**content, **files},
        expected=last.seq if last else 0,
        run_id=f"run-{factor}",
        as_of=date(2026, 1, 1),
        reason="better",
    )


def forge(folder: Path, files: Files, listing: bytes | None = None, before: Entry | None = None, **facts: Any) -> Entry:
    """A release of workload `sales` whose digests all hold, as whoever may write to the store can make it.

    `listing`: the bytes of its manifest, if they are not what `files` need. `before`: the ledger's last entry so far.
    """
    store, listing = FolderStore(folder), build(files) if listing is None else listing
    seq = before.seq + 1 if before else 1
    entry = Entry(
        **{
            "seq": seq,
            "kind": "promote",
            "release": seq,
            "files": f"sales/files/{seq:016x}",
            "model_sha256": sha256(files.get("model.onnx", b"")),
            "manifest_sha256": sha256(listing),
            "run_id": "r",
            "as_of": date(2026, 1, 1),
            "reason": "",
            "created": "",
            "previous": before.sha256 if before else "",
            **facts,
        }
    ).sealed()
    for name, data in {**files, "manifest.json": listing}.items():
        store.write(f"{entry.files}/{name}", data)
    store.write(f"sales/ledger/{seq:08d}.json", entry.to_bytes())
    return entry


def table_model(contract: FeatureContract) -> bytes:
    """ONNX bytes of a model under any contract of ours: each output is a fixed mixture of sums over every input."""
    nodes, sums, values = [], [], []
    shape = [1, *contract.output_shape]
    for place, (name, (dtype, form)) in enumerate(contract.inputs.items()):
        kind = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}[dtype]
        values.append(helper.make_tensor_value_info(name, kind, ["batch", *form]))
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", [f"{name}_f"], [f"{name}_flat"]),
            helper.make_node("ReduceMean", [f"{name}_flat", "one"], [f"{name}_mean"], keepdims=1),
            helper.make_node("Mul", [f"{name}_mean", f"{name}_weight"], [f"{name}_sum"]),
        ]
        sums.append((f"{name}_sum", 0.3 + place))
    axes = [place + 2 for place in range(len(contract.output_shape) - 1)]
    nodes += [
        helper.make_node("Sum", [name for name, _ in sums], ["total"]),
        helper.make_node("Unsqueeze", ["total", "axes"], ["wide"])
        if axes
        else helper.make_node("Identity", ["total"], ["wide"]),
        helper.make_node("Mul", ["wide", "mixture"], ["output"]),
    ]
    mixture = np.linspace(0.5, 1.5, int(np.prod(shape)), dtype=np.float32)
    graph = helper.make_graph(
        nodes,
        "model",
        values,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", *contract.output_shape])],
        [
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
            helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes),
            helper.make_tensor("mixture", TensorProto.FLOAT, shape, mixture),
            *[helper.make_tensor(f"{name[:-4]}_weight", TensorProto.FLOAT, [1], [weight]) for name, weight in sums],
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = made.SerializeToString()
    return data


def promote_tables(
    releases: ReleaseStore,
    options: dict[str, Any],
    table: Any,
    as_of: date,
    timezone: str = "UTC",
    columns: dict[str, str] | None = None,
    **checks: Any,
) -> Entry:
    """Release a model that takes the rows of a real kind of learning, with that kind's `options`.

    `columns`: contract name -> what it is called in the file that the source reads.
    """
    problem = get_problem(Spec(**options))
    contract = problem.features({problem.tables()[0].name: table.lazy()}, as_of).contract
    last = releases.champion()
    files = {
        "model.onnx": table_model(contract),
        "contract.json": json.dumps(contract_to_json(contract)).encode(),
        "run.yaml": json.dumps(
            {
                "problem": options,
                "checks": checks,
                "timezone": timezone,
                "of another version": 1,
                **({"source": {"kind": "table", "path": "t.csv", "columns": columns}} if columns else {}),
            }
        ).encode(),
    }
    return releases.publish(files, expected=last.seq if last else 0, run_id="run", as_of=as_of, reason="better")
