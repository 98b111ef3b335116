"""The stage refit is part of the pipeline of a workload that asks for it, and of no other."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.config.run import Run, parse_run
from tasks.config.workload import Workload, load_workload
from tasks.core.errors import ConfigError
from tasks.pipeline.graph import Graph, load_graph
from tasks.planning.soundness import require_sound
from tests.unit.pipeline.test_code_dependencies import undeclared

PROJECT = Path(__file__).parents[3]


def section(**changes: Any) -> dict[str, Any]:
    return {**load_workload(PROJECT / "params.yaml", "sales").model_dump(mode="json"), **changes}


def graph(**changes: Any) -> Graph:
    run = Run(**section(**changes), workload="sales", as_of=date(2026, 1, 1), champion=0)
    return load_graph((PROJECT / "dvc.yaml").read_text(), run.model_dump(mode="json"))


def test_without_it_candidates_are_judged_as_they_are() -> None:
    stages = graph().stages
    assert not [name for name in stages if name.startswith("refit")]
    assert all("artifacts/candidates" in stages[name].deps for name in ("evaluate", "promote", "report"))


def test_with_it_what_is_judged_comes_from_it() -> None:
    stages = graph(refit="newest").stages
    assert stages["refit@newest"].cmd == "python -m tasks stage refit newest"
    for name in ("evaluate", "promote", "report"):
        assert "artifacts/refit" in stages[name].deps
        assert "refit@newest" in stages[name].upstream
        assert "artifacts/candidates" not in stages[name].deps
    assert {"compress@fp32", "distil@twin", "teach@lightgbm"} <= set(stages["refit@newest"].upstream)


def test_a_section_alone_gives_the_same_stages() -> None:
    text = (PROJECT / "dvc.yaml").read_text()
    assert set(load_graph(text, section(refit="newest")).stages) == set(graph(refit="newest").stages)
    assert set(load_graph(text, section()).stages) == set(graph().stages)


@pytest.mark.parametrize(
    ("workload", "kind"), [("sales", "forecasting"), ("churn", "tabular"), ("text", "text"), ("images", "vision")]
)
def test_it_declares_all_code_that_it_imports(workload: str, kind: str) -> None:
    found = load_workload(PROJECT / "params.yaml", workload).model_dump(mode="json") | {"refit": "newest"}
    run = Run(**found, workload=workload, as_of=date(2026, 1, 1), champion=0)
    stages = load_graph((PROJECT / "dvc.yaml").read_text(), run.model_dump(mode="json")).stages
    code = PROJECT / "tasks" / "problems" / kind
    starts = [PROJECT / "tasks" / "stages" / "refit.py", *code.rglob("*.py")]
    assert undeclared(stages["refit@newest"].deps, *starts) == []


def test_a_run_yaml_of_before_is_one_without_it() -> None:
    now = Run(**section(), workload="sales", as_of=date(2026, 1, 1), champion=0)
    text = now.to_yaml()
    assert "refit: newest" not in text
    before = text.replace("  candidates: artifacts/candidates\n", "").replace("  refit: []\n", "")
    assert before != text
    assert parse_run(before) == now


def test_a_recipe_of_its_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"recipes\.newest: refit gives its candidate this name"):
        Workload.model_validate(section(refit="newest", recipes={"newest": {}}))


def test_check_refuses_it_where_a_part_is_not_trained_again() -> None:
    ranking = load_workload(PROJECT / "params.yaml", "recommendation").model_copy(update={"refit": "newest"})
    require_sound("recommendation", ranking, PROJECT)
    student = ranking.students["student"]
    assistant = {"model": {"kind": "decayed-sum", "width": 48}, "training": student.training.model_dump()}
    between = type(student).model_validate({**student.model_dump(), "assistant": assistant})
    assisted = ranking.model_copy(update={"students": {**ranking.students, "student": between}})
    with pytest.raises(ConfigError, match=r"recommendation\.refit: students\.student\.assistant is not trained again"):
        require_sound("recommendation", assisted, PROJECT)
