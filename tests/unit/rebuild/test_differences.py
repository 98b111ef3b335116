"""What differs between two releases, section by section."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from tasks.core.errors import IntegrityError
from tasks.rebuild.differences import Differences, Row, compare
from tasks.releases.ledger import Entry
from tasks.releases.origin import changed_files, code_dependencies, code_digests
from tests.tamper import put


def model(width: int, name: str = "x") -> bytes:
    """ONNX bytes of a sum over `width` numbers."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", [name], ["output"], keepdims=0)],
        "model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [])],
    )
    found: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = found.SerializeToString()
    return data


def lock(snapshot: str, code: str, requirements: str = "r1") -> bytes:
    stages = {
        "snapshot": {
            "deps": [
                {"path": "requirements/task.lock", "md5": requirements},
                {"path": "tasks/tables/sources", "md5": "s"},
            ],
            "outs": [{"path": "artifacts/snapshot", "md5": snapshot}],
        },
        "teach@lstm": {
            "deps": [{"path": "artifacts/snapshot", "md5": snapshot}, {"path": "tasks/models", "md5": code}],
            "outs": [{"path": "artifacts/teachers/lstm", "md5": "t"}],
        },
    }
    return yaml.safe_dump({"schema": "2.0", "stages": stages}).encode()


def files(width: int = 4, **changes: Any) -> dict[str, bytes]:
    """A release's files; `changes` replace parts of them."""
    run = {
        "workload": "sales",
        "as_of": "2026-01-01",
        "champion": 0,
        "seed": changes.get("seed", 7),
        "students": {"student": {"alpha": changes.get("alpha", 0.5), "model": {"kind": "mlp"}}},
        "plugins": {"source": {"acme": {"version": changes.get("acme", "1.2"), "sha256": "5" * 64}}, "gates": {}},
        "code": {"problem": "tasks/problems/forecasting"},
        "gates": {
            "accuracy": {"limit": changes.get("limit", 0.6)},
            "latency": {"batch": 2, "threads": 1, "rounds": 5},
        },
    }
    winner = {"name": "fp16", "role": "candidate", "error": changes.get("error", 0.2), "metrics": {"pinball": 1.5}}
    facts = {"python": "3.11.7", "libraries": {"numpy": changes.get("numpy", "2.4.6")}}
    documents = {
        "contract.json": {"inputs": {"x": ["float32", [width]]}, "order": ["x"]},
        "snapshot.json": {"rows": changes.get("rows", 100), "entities": 4, "last_date": "2026-01-01", "notes": []},
        "verdict.json": {
            "winner": "fp16",
            "primary_metric": "wape",
            "rows": 1200,
            "models": [
                {**winner, "parameters": 10, "valid_error": 0.3},
                {"name": "ensemble", "role": "teacher", "error": 0.19},
            ],
        },
        "surroundings.json": {
            "git_commit": changes.get("commit", "abc"),
            "stages": {"teach@lstm": facts, "snapshot": {}},
        },
        "code.json": {"tasks/models/lstm.py": changes.get("lstm", "1"), "tasks/tables/sources/base.py": "1"},
    }
    return {
        "model.onnx": model(width),
        "run.yaml": yaml.safe_dump(run).encode(),
        "dvc.lock": lock(changes.get("snapshot", "d1"), changes.get("code", "c1"), changes.get("requirements", "r1")),
        **{name: json.dumps(document).encode() for name, document in documents.items()},
    }


def publish(releases: Any, content: dict[str, bytes]) -> Entry:
    last = releases.champion()
    expected = last.seq if last else 0
    entry: Entry = releases.publish(content, expected=expected, run_id="r", as_of=date(2026, 1, 1), reason="better")
    return entry


def differing(found: Differences, section: str) -> dict[str, tuple[Any, Any]]:
    return {row.name: (row.a, row.b) for row in found.sections[section] if not row.equal}


def test_equal_releases_differ_in_nothing(releases: Any) -> None:
    a, b = publish(releases, files()), publish(releases, files())
    found = compare(releases, a, b, latency=False)
    assert list(found.sections) == ["data", "code", "params", "libraries", "gates", "metrics", "size"]
    assert not any(differing(found, name) for name in found.sections)
    assert all(found.sections.values()), "every section says something"


def test_the_table_that_differs_is_named(releases: Any) -> None:
    def tables(digest: str) -> bytes:
        facts = {"events": {"rows": 9, "sha256": "e"}, "items": {"rows": 5, "sha256": digest}}
        return json.dumps({"source": "tables", "tables": facts}).encode()

    a = publish(releases, {**files(), "snapshot.json": tables("i1")})
    b = publish(releases, {**files(), "snapshot.json": tables("i2")})
    assert differing(compare(releases, a, b, latency=False), "data") == {"items.sha256": ("i1", "i2")}


def test_a_release_of_before_names_is_compared_with_the_one_table_of_now(releases: Any) -> None:
    facts = {"rows": 101, "entities": 4, "last_date": "2026-01-01", "sha256": "s"}
    named = json.dumps({"notes": [], "tables": {"series": facts}}).encode()
    a, b = publish(releases, files()), publish(releases, {**files(), "snapshot.json": named})
    assert differing(compare(releases, a, b, latency=False), "data") == {"rows": (100, 101), "sha256": (None, "s")}


def test_every_kind_of_difference_is_named(releases: Any) -> None:
    changes: dict[str, Any] = {
        "rows": 120,
        "snapshot": "d2",
        "code": "c2",
        "lstm": "2",
        "commit": "def",
        "seed": 8,
        "alpha": 0.7,
        "limit": 0.5,
        "error": 0.1,
        "numpy": "2.4.7",
        "acme": "1.3",
        "requirements": "r2",
    }
    found = compare(releases, publish(releases, files()), publish(releases, files(**changes)), latency=False)
    assert (found.workload, found.a, found.b) == ("sales", 1, 2)
    assert differing(found, "data") == {"rows": (100, 120), "digest of artifacts/snapshot": ("d1", "d2")}
    assert differing(found, "code") == {"git commit": ("abc", "def"), "tasks/models": ("c1", "c2")}
    (row,) = (row for row in found.sections["code"] if row.name == "tasks/models")
    assert row.note == "tasks/models/lstm.py changed"
    assert differing(found, "params") == {"seed": (7, 8), "students.student.alpha": (0.5, 0.7)}
    assert differing(found, "gates") == {"accuracy.limit": (0.6, 0.5)}
    assert differing(found, "libraries") == {
        "requirements/task.lock": ("r1", "r2"),
        "numpy": ("2.4.6", "2.4.7"),
        "plugin acme": ("1.2 (555555555555)", "1.3 (555555555555)"),
    }
    assert differing(found, "metrics") == {"wape": (0.2, 0.1)}
    document = found.to_json()
    json.dumps(document)
    (wape,) = (row for row in document["sections"]["metrics"] if row["name"] == "wape")
    assert wape == {"name": "wape", "a": 0.2, "b": 0.1, "equal": False, "change": -0.5}


@pytest.mark.parametrize(("width", "same"), [(4, True), (9, False)])
def test_both_models_are_timed_under_their_own_contracts(releases: Any, width: int, same: bool) -> None:
    a, b = publish(releases, files()), publish(releases, files(width, seed=8))
    before = releases.store.modified("sales/")
    rows = {row.name: row for row in compare(releases, a, b).sections["latency"]}
    assert set(rows) == {"p50 µs", "p95 µs", "p50 / reference model's", "p95 / reference model's"}
    assert all(row.a > 0 and row.b > 0 for row in rows.values())
    assert rows["p50 µs"].note.startswith("batch 2, 1 threads, ")
    assert ("compare the ratios" in rows["p50 µs"].note) != same
    assert releases.store.modified("sales/") == before, "nothing measured is stored"


def test_a_model_that_cannot_be_run_has_no_latency(releases: Any) -> None:
    a, b = publish(releases, files()), publish(releases, files() | {"model.onnx": b"no model"})
    (row,) = compare(releases, a, b).sections["latency"]
    assert row.a is row.b is None and row.note.startswith("cannot be measured: ")


def test_a_release_without_these_files_is_compared_as_far_as_it_goes(releases: Any) -> None:
    a, b = releases.promote("one"), publish(releases, files())
    found = compare(releases, a, b, latency=False)
    assert differing(found, "size") == {"bytes": (3, len(model(4))), "parameters": (None, 10)}
    assert differing(found, "code")["tasks/models"] == (None, "c1")


def test_changed_files_are_not_compared(releases: Any, folder: Path) -> None:
    a, b = publish(releases, files()), publish(releases, files(seed=8))
    put(folder / b.files / "run.yaml", "seed: 7\n")
    with pytest.raises(IntegrityError, match=r"run\.yaml"):
        compare(releases, a, b, latency=False)


def test_a_change_is_only_of_two_numbers() -> None:
    assert Row("x", 4, 5).change == 0.25
    for a, b in ((None, 5), (0, 5), ("4", "5"), (True, False)):
        assert Row("x", a, b).change is None


def test_code_is_what_stages_read_and_none_wrote(tmp_path: Path) -> None:
    text = lock("d1", "c1")
    assert code_dependencies(text) == {
        "requirements/task.lock": "r1",
        "tasks/tables/sources": "s",
        "tasks/models": "c1",
    }
    for name in ("tasks/models/a.py", "tasks/models/__pycache__/a.pyc", "tasks/models/.cache/x", "tasks/other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    before = json.loads(code_digests(tmp_path, text))
    assert list(before) == ["tasks/models/a.py"]
    (tmp_path / "tasks" / "models" / "a.py").write_text("2")
    (tmp_path / "tasks" / "models" / "b.py").write_text("2")
    now = json.loads(code_digests(tmp_path, text))
    assert changed_files(before, now) == ["tasks/models/a.py changed", "tasks/models/b.py was added"]
    assert changed_files(now, before) == ["tasks/models/a.py changed", "tasks/models/b.py is gone"]
