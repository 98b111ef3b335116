"""Releases that are malformed although every digest holds: one line and a documented code, whatever is asked."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.cli.main import main
from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.contracts import contract_to_json
from tests.conftest import sales_table
from tests.serving_releases import Files, forge, table_model

PROJECT = Path(__file__).parents[3]
AS_OF = date(2026, 5, 31)
OPTIONS = {"horizon": 28, "context": 56, "season": 7, "country": "US", "static": ["store_id", "department"]}
RUN = {"problem": {"kind": "forecasting", **OPTIONS}, "checks": {"max_units": 5000}}
LONGEST = 700


@pytest.fixture(scope="module")
def table() -> Any:
    return sales_table(AS_OF, days=200, stores=1)


@pytest.fixture(scope="module")
def good(table: Any) -> Files:
    """A release of a model that takes rows."""
    problem = get_problem(Spec(kind="forecasting", **OPTIONS))
    contract = problem.features({problem.tables()[0].name: table.lazy()}, AS_OF).contract
    return {
        "model.onnx": table_model(contract),
        "contract.json": json.dumps(contract_to_json(contract)).encode(),
        "run.yaml": json.dumps(RUN).encode(),
    }


@pytest.fixture
def ask(
    folder: Path, table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., int]:
    """The code of one command, whose error is one line and no trace."""
    monkeypatch.setenv("NIGHTSTILL_RELEASE_STORE", str(folder))
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(PROJECT))
    rows = tmp_path / "rows.parquet"
    table.write_parquet(rows)

    def command(*arguments: str) -> int:
        if arguments[0] == "score":
            arguments = (*arguments, "--as-of", str(AS_OF), "--table", str(rows), "--out", str(tmp_path / "out"))
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr().err
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in said, said
        assert len(errors) == bool(ended.value.code) and all(len(line) < LONGEST for line in errors), said
        return int(ended.value.code or 0)

    return command


def test_a_sound_one_is_scored(folder: Path, good: Files, ask: Callable[..., int]) -> None:
    forge(folder, good)
    assert ask("score", "sales") == ask("release", "verify", "sales") == ask("release", "show", "sales", "1") == 0


@pytest.mark.parametrize(
    "listing",
    [b"[" * 100_000, b"[]", b'{"files": 1}', b'{"files": {"model.onnx": 1}}', b"\xff", b'{"files": {"../x": {}}}', b""],
)
@pytest.mark.parametrize("command", ["score sales", "release verify sales", "release show sales 1"])
def test_a_manifest_that_is_none(
    command: str, listing: bytes, folder: Path, good: Files, ask: Callable[..., int]
) -> None:
    forge(folder, good, listing)
    assert ask(*command.split()) == 76


@pytest.mark.parametrize("missing", ["model.onnx", "contract.json", "run.yaml"])
def test_a_file_that_scoring_needs_is_missing(missing: str, folder: Path, good: Files, ask: Callable[..., int]) -> None:
    forge(folder, {name: data for name, data in good.items() if name != missing})
    assert ask("score", "sales") == 76
    assert ask("release", "show", "sales", "1") == 0
    assert ask("release", "verify", "sales") == (76 if missing == "model.onnx" else 0)


def contract(good: Mapping[str, bytes], **changes: Any) -> Files:
    return {"contract.json": json.dumps(json.loads(good["contract.json"]) | changes).encode()}


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {}},
        {"settings": []},
        {"settings": {"options": {**OPTIONS, "horizon": "soon"}}},
        {"settings": {"options": {**OPTIONS, "context": 14}}},
        {"inputs": {}},
        {"inputs": {"future": ["x", [1]]}, "order": ["future"]},
        {"order": None},
        {"statistics": 1},
        {"categories": {"store_id": [[]]}},
        {"categories": 1},
        {"codes": {"static": [{"column": "store_id", "first": "a"}]}},
        {"output_shape": "wide"},
        {"problem": []},
    ],
    ids=str,
)
def test_a_contract_that_is_none(changes: dict[str, Any], folder: Path, good: Files, ask: Callable[..., int]) -> None:
    forge(folder, good | contract(good, **changes))
    assert ask("score", "sales") == 76
    assert ask("release", "verify", "sales") == ask("release", "show", "sales", "1") == 0


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("contract.json", b"[" * 100_000, 76),
        ("contract.json", b"\xff", 76),
        ("model.onnx", b"", 76),
        ("model.onnx", b"\x08\x0a", 76),
        ("model.onnx", b"no model", 76),
        ("model.onnx", b"\x3a\x02\x0a\x00" * 50_000, 76),
        ("run.yaml", b"\xff", 78),
        ("run.yaml", b"a: [", 78),
        ("run.yaml", b"[" * 1_000, 78),
        ("run.yaml", json.dumps({"problem": {"kind": "nonsense"}, "checks": {}}).encode(), 78),
        ("run.yaml", json.dumps(RUN | {"checks": {"max_units": [0]}}).encode(), 78),
        ("run.yaml", json.dumps(RUN | {"problem": 1}).encode(), 78),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_file_that_is_none(
    name: str, data: bytes, code: int, folder: Path, good: Files, ask: Callable[..., int]
) -> None:
    forge(folder, good | {name: data})
    assert ask("score", "sales") == code
    assert ask("release", "verify", "sales") == ask("release", "show", "sales", "1") == 0


def test_a_value_without_a_code_is_the_table_s_fault(folder: Path, good: Files, ask: Callable[..., int]) -> None:
    books = json.loads(good["contract.json"])["categories"] | {"store_id": ["s9"]}
    forge(folder, good | contract(good, categories=books))
    assert ask("score", "sales") == 65


@pytest.mark.parametrize("reason", ["[/]", "[/bold]", "see [/docs/x]", "[red]", "\x1b[2J"])
def test_a_reason_is_shown_as_it_is(
    reason: str, folder: Path, good: Files, ask: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    forge(folder, good, reason=reason)
    for command in (["list", "sales"], ["show", "sales", "1"]):
        with pytest.raises(SystemExit) as ended:
            main(["release", *command])
        found = capsys.readouterr()
        assert not ended.value.code, found.err
        assert "\x1b[2J" not in found.out and (reason in found.out or not reason.isprintable())
