"""The DAG that removes what old nights left."""

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from dags import tidying


def arguments(**typed: Any) -> list[str]:
    form: Any = tidying.dag.params
    params = {name: param.value for name, param in form.items()} | typed
    task: Any = tidying.dag.get_task("tidy").prepare_for_execution()
    task.render_template_fields({"params": params, "dag_run": SimpleNamespace()})
    return [argument for argument in task.arguments if argument]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, ["tidy", "--keep-nights=90"]),
        ({"keep_nights": 30, "remove": True}, ["tidy", "--keep-nights=30", "--remove"]),
    ],
)
def test_it_removes_nothing_unless_it_is_asked_to(typed: dict[str, Any], expected: list[str]) -> None:
    assert arguments(**typed) == expected


def test_the_scheduler_can_read_it_and_without_a_setting_it_runs_by_hand() -> None:
    again = DagSerialization.from_dict(DagSerialization.to_dict(tidying.dag))
    assert set(again.task_dict) == {"tidy"}
    assert type(tidying.dag.timetable).__name__ == "NullTimetable"
    assert tidying.dag.doc_md and tidying.dag.get_task("tidy").doc_md


def test_with_the_setting_it_removes_every_sunday(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_KEEP_NIGHTS", "60")
    changed: Any = importlib.reload(tidying)
    try:
        assert "0 12 * * 0" in changed.dag.timetable.expression
        assert arguments() == ["tidy", "--keep-nights=60", "--remove"]
    finally:
        monkeypatch.delenv("NIGHTSTILL_KEEP_NIGHTS")
        importlib.reload(tidying)
