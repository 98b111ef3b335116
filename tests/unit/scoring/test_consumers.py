"""What training feeds a model is what the consumers' client takes, with the same numbers, for each kind of learning."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import Champion, InputError
from serving.contract import Contract
from tasks.compression.export import export_onnx
from tasks.compression.runtime import OnnxModel, run_onnx
from tasks.core.config import Spec
from tasks.core.storage import FolderStore
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Problem
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.contracts import contract_from_json, contract_to_json
from tasks.problems.models import build_model
from tasks.releases.store import ReleaseStore
from tests.unit.problems.tabular import test_problem as customers
from tests.unit.problems.tabular.labelled import homes

STATIC = ["store_id", "department"]


def _sales(sales: Any) -> tuple[Problem, Dataset, Any, date, Spec]:
    problem = sales.problem(static=STATIC)
    return (
        problem,
        problem.features({problem.tables()[0].name: sales.table()}, sales.as_of),
        sales.table(),
        sales.as_of,
        Spec(kind="linear-mlp", hidden=8, embedding=2),
    )


def _customers() -> tuple[Problem, Dataset, Any, date, Spec]:
    problem = get_problem(Spec(kind="tabular", **customers.OPTIONS))
    table = customers.shop()
    return (
        problem,
        problem.features({problem.tables()[0].name: table}, customers.AS_OF),
        table,
        customers.AS_OF,
        Spec(kind="mlp", hidden=[8]),
    )


def _homes() -> tuple[Problem, Dataset, Any, date, Spec]:
    options = homes.VALUE | {"quantiles": [0.1, 0.9]}
    return (
        homes.problem(options),
        homes.dataset(options),
        homes.homes().lazy(),
        homes.AS_OF,
        Spec(kind="mlp", hidden=[8]),
    )


@pytest.fixture(params=["forecasting", "tabular", "labelled"])
def made(request: pytest.FixtureRequest, sales: Any) -> Any:
    """Problem, dataset, raw table, its day, and a model for it."""
    if request.param == "forecasting":
        return _sales(sales)
    return _customers() if request.param == "tabular" else _homes()


def _released(releases: Any, dataset: Dataset, spec: Spec, contract: dict[str, Any]) -> bytes:
    rows = dataset.inputs(dataset.splits["valid"][:2])
    model: bytes = export_onnx(build_model(spec, dataset.contract).eval(), dataset.contract, rows)
    files = {"model.onnx": model, "contract.json": json.dumps(contract).encode()}
    releases.publish(files, expected=0, run_id="r", as_of=date(2026, 1, 1), reason="better")
    return model


def _before_fields(contract: dict[str, Any]) -> dict[str, Any]:
    """As releases wrote it that did not say where codes begin."""
    return {name: value for name, value in contract.items() if name != "codes"}


@pytest.mark.parametrize("older", [False, True])
def test_the_client_takes_what_training_feeds_and_gives_its_numbers(
    made: Any, releases: Any, folder: Path, tmp_path: Path, older: bool
) -> None:
    _, dataset, _, _, spec = made
    contract = contract_to_json(dataset.contract)
    model = _released(releases, dataset, spec, _before_fields(contract) if older else contract)
    champion = Champion.open(str(folder), "sales", cache=tmp_path / "cache")
    for split in ("train", "valid", "test"):
        rows = dataset.inputs(dataset.splits[split], champion.model.names)
        np.testing.assert_array_equal(champion.predict(rows), run_onnx(model, rows))


def test_the_client_gives_the_numbers_that_scoring_the_table_gives(
    made: Any, releases: Any, folder: Path, tmp_path: Path
) -> None:
    problem, dataset, table, as_of, spec = made
    model = _released(releases, dataset, spec, contract_to_json(dataset.contract))
    champion = Champion.open(str(folder), "sales", cache=tmp_path / "cache")
    fed: list[Any] = []
    loaded = OnnxModel(model, threads=1)

    class Client:
        names = loaded.names

        def __call__(self, inputs: Any) -> Any:
            fed.append(len(next(iter(inputs.values()))))
            return champion.predict({name: inputs[name] for name in self.names})

    by_client = problem.predict({problem.tables()[0].name: table}, as_of, dataset.contract, Client())
    assert (
        by_client.equals(problem.predict({problem.tables()[0].name: table}, as_of, dataset.contract, loaded))
        and sum(fed) > 5
    )


def test_raw_values_get_the_codes_of_training(made: Any) -> None:
    _, dataset, _, _, _ = made
    contract = Contract.from_json(json.loads(json.dumps(contract_to_json(dataset.contract))))
    (field,) = contract.coded.values()
    rows = dataset.splits["train"]
    codes = dataset.inputs(rows, [field.name])[field.name]
    segments = {book.name: dataset.segments[book.name][rows] for book in field.books if book.name in dataset.segments}
    for column, book in enumerate(field.books):
        if book.name in segments:
            assert book.codes(field.name, segments[book.name].tolist()) == codes[:, column].tolist()
            assert book.codes(field.name, ["never seen"]) == [book.first]


def test_codes_of_a_column_go_on_where_those_before_end_and_others_are_refused(sales: Any) -> None:
    """Unsaid, `[[3, 2, 1]]` was another store and department."""
    _, dataset, _, _, _ = _sales(sales)
    contract = contract_from_json(json.loads(json.dumps(contract_to_json(dataset.contract))))
    assert [(book.name, book.first) for book in contract.codes["static"]] == [
        ("phase", 0),
        ("store_id", 7),
        ("department", 10),
    ]
    static = Contract.from_json(contract_to_json(dataset.contract)).coded["static"]
    wanted = {"phase": ["3"], "store_id": ["s2"], "department": ["d1"]}
    assert static.encode(wanted).tolist() == [[3, 9, 11]]
    assert static.encode({**wanted, "store_id": ["s9"]}).tolist() == [[3, 7, 11]]
    with pytest.raises(InputError, match=r"^static: 2 at \[0, 1\]; codes of store_id are 7 to 9 in this release$"):
        static.check(np.array([[3, 2, 1]]))
    with pytest.raises(InputError, match=r"^static: '9' in row 0 is no value of phase, which has no unknown one$"):
        static.encode({**wanted, "phase": ["9"]})
    with pytest.raises(InputError, match=r"^static: column store_id is missing; it has: phase, store_id, department$"):
        static.encode({"phase": ["3"], "department": ["d1"]})


def test_a_contract_survives_its_file(made: Any) -> None:
    _, dataset, _, _, spec = made
    assert contract_from_json(json.loads(json.dumps(contract_to_json(dataset.contract)))) == dataset.contract
    assert inputs_of(build_model(spec, dataset.contract), dataset.contract.inputs)


def test_the_example_of_the_page_for_consumers_runs_word_for_word(
    sales: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, dataset, _, _, spec = _sales(sales)
    releases = ReleaseStore(FolderStore(tmp_path / ".nightstill" / "releases"), "sales")
    _released(releases, dataset, spec, contract_to_json(dataset.contract))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    page = (Path(__file__).parents[3] / "docs" / "consumers.md").read_text()
    example, _ = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {}
    exec(example, found)
    assert found["forecast"].shape == (1, *dataset.contract.output_shape)
    assert capsys.readouterr().out.endswith("up to date\n")
