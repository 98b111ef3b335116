"""The number of processes that train a network: said in `resources`, seen by the lock, refused where it cannot be."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.config.plugins import Plugins
from tasks.config.run import Run, parse_run
from tasks.config.workload import Workload, load_workload
from tasks.core.errors import ConfigError
from tasks.pipeline.graph import load_graph
from tasks.pipeline.handover.locks import tracked
from tasks.planning.soundness import remarks, require_sound
from tests.conftest import PROJECT


def sales(tmp_path: Path, resources: dict[str, Any], **changes: Any) -> Workload:
    document = yaml.safe_load((PROJECT / "params.yaml").read_text())
    document["workloads"]["sales"] |= {"resources": resources, **changes}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_workload(path, "sales")


def run_of(workload: Workload) -> Run:
    return Run(**dict(workload), workload="sales", as_of=date(2026, 11, 28), champion=0, plugins=Plugins())


def test_the_number_is_in_the_lock_of_what_it_trains_and_nowhere_else(tmp_path: Path) -> None:
    one = run_of(sales(tmp_path, {"distil": {"cpus": 1}}))
    two = run_of(sales(tmp_path, {"teach@lstm": {"processes": 2}}))
    assert "processes" not in one.to_yaml(), "locks of before would change"
    assert parse_run(two.to_yaml()) == two
    params = {}
    for number, run in ((1, one), (2, two)):
        data = run.model_dump(mode="json")
        stages = load_graph((PROJECT / "dvc.yaml").read_text(), data).stages
        params[number] = {name: tracked(stage, {"run.yaml": data}) for name, stage in stages.items()}
    assert params[2]["teach@lstm"]["run.yaml:teachers.lstm"]["processes"] == 2
    assert [name for name in params[1] if params[1][name] != params[2][name]] == ["teach@lstm"]


@pytest.mark.parametrize(
    ("resources", "changes", "said"),
    [
        ({"features": {"processes": 2}}, {}, r"resources\.features\.processes: only teach and distil"),
        ({"compress": {"processes": 2}}, {}, r"resources\.compress\.processes: only teach and distil"),
        ({"refit@newest": {"processes": 2}}, {}, r"resources\.refit@newest\.processes: only teach and distil"),
        ({"default": {"processes": 2}}, {}, r"resources\.default\.processes: only teach and distil"),
        ({"teach@lstm": {"processes": 0}}, {}, r"resources\.teach@lstm\.processes"),
        (
            {"default": {"cpus": 3}, "teach@lstm": {"processes": 2}},
            {"threads": 2},
            r"resources\.teach@lstm\.processes: 2 processes of 2 threads need 4 cores, its cpus are 3",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, resources: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        sales(tmp_path, resources, **changes)


def test_one_place_says_it(tmp_path: Path) -> None:
    document = yaml.safe_load((PROJECT / "params.yaml").read_text())["workloads"]["sales"]
    document["teachers"]["lstm"]["processes"] = 2
    with pytest.raises(ValueError, match=r"teachers\.lstm\.processes: say it in resources\.teach@lstm\.processes"):
        Workload.model_validate(document)


def test_models_that_fit_themselves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"teachers\.lightgbm: .*set resources\.teach@lightgbm: .*nodes: 1"):
        require_sound("sales", sales(tmp_path, {"teach": {"processes": 2}}), PROJECT)
    require_sound("sales", sales(tmp_path, {"teach": {"processes": 2}, "teach@lightgbm": {"processes": 1}}), PROJECT)


def test_batch_normalisation_is_refused() -> None:
    section = yaml.safe_load((PROJECT / "workloads/images.yaml").read_text())["workloads"]["images"]
    name = next(iter(section["students"]))
    workload = Workload.model_validate({**section, "resources": {f"distil@{name}": {"processes": 2}}})
    with pytest.raises(ConfigError, match=rf"resources\.distil@{name}: batch normalisation"):
        require_sound("images", workload, PROJECT)


def test_machines_stand_in_the_lock_beside_processes(tmp_path: Path) -> None:
    run = run_of(sales(tmp_path, {"teach@lstm": {"nodes": 2}, "distil": {"processes": 2, "nodes": 3}}))
    assert (run.teachers["lstm"].nodes, run.teachers["lstm"].world) == (2, 2)
    assert {student.world for student in run.students.values()} == {6}
    assert parse_run(run.to_yaml()) == run


@pytest.mark.parametrize("runner", ["process", "docker"])
def test_machines_need_a_runner_that_has_them(tmp_path: Path, runner: str) -> None:
    with pytest.raises(ConfigError, match=rf"resources\.teach@lstm\.nodes: the runner {runner} has one machine"):
        sales(tmp_path, {"teach@lstm": {"nodes": 2}}, runner=runner)
    sales(tmp_path, {"teach@lstm": {"nodes": 2}}, runner="kubernetes")


def test_a_check_tells_of_machines_that_nobody_has_and_of_uneven_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSTILL_RUNNER", "process")
    workload = sales(tmp_path, {"teach@lstm": {"nodes": 3}})
    said = list(remarks(workload, []))
    assert any("resources.teach@lstm.nodes: 3 machines" in line and "the runner is process" in line for line in said)
    assert any(line.startswith("teachers.lstm.training.batch_size: 3 processes divide") for line in said)
    monkeypatch.setenv("NIGHTSTILL_RUNNER", "kubernetes")
    even = sales(tmp_path, {"teach@lstm": {"nodes": 2}})
    assert list(remarks(even, [])) == []


def test_machines_of_a_stage_that_trains_no_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"resources\.compress\.nodes: only teach and distil"):
        sales(tmp_path, {"compress": {"nodes": 2}})
