"""Which parts of a run use another package, and what a change of it changes: the digests of its users alone."""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.config.plugins import installed, require_installed
from tasks.config.run import Run, parse_run
from tasks.config.workload import Workload, load_workload
from tasks.core.errors import ConfigError
from tasks.pipeline.graph import Graph, load_graph
from tasks.pipeline.handover.locks import StageInputs, differences
from tests.plugins.install import install_acme, visible

PROJECT = Path(__file__).parents[3]
STAGES = {"snapshot", "validate", "features", "teach", "distil", "compress", "evaluate", "promote", "report"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    install_acme(tmp_path)
    with visible(tmp_path):
        yield tmp_path


def customers(**changes: Any) -> Workload:
    """The workload `customers` of params.yaml, with parts of its section replaced."""
    section = load_workload(PROJECT / "params.yaml", "customers").model_dump(mode="json")
    for dotted, value in changes.items():
        place = section
        *parents, last = dotted.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    return Workload.model_validate(section)


def opened(workload: Workload) -> dict[str, Any]:
    """run.yaml of a night, as all runners read it."""
    run = Run(**dict(workload), workload="any", as_of=date(2026, 1, 1), champion=0, plugins=installed(workload))
    found: dict[str, Any] = yaml.safe_load(run.to_yaml())
    return found


def graph(run: Mapping[str, Any]) -> Graph:
    return load_graph((PROJECT / "dvc.yaml").read_text(), run)


def tracked(run: Mapping[str, Any]) -> dict[str, StageInputs]:
    """The parameters of each stage with their values."""
    found = {}
    for name, stage in graph(run).stages.items():
        values = {}
        for file, key in stage.params:
            value: Any = run
            for part in key.split("."):
                value = value[part]  # DVC refuses a parameter that is missing
            values[f"{file}:{key}"] = value
        found[name] = StageInputs(stage.cmd, values, {})
    return found


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """Stage -> what differs in what it tracks."""
    a, b = tracked(before), tracked(now)
    return {name: lines for name in a if (lines := differences(a[name], b[name], set()))}


LINE = {"kind": "acme-line", "scale": 100.0}
TEACH = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}
SEARCH = {
    "limits": {"retention": 1.1},
    "space": [{"kind": "neurons", "keep": [0.1, 1.0]}, {"kind": "numbers", "choices": ["none", "acme-round"]}],
}
USERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set()),
    ({"source": {"kind": "acme-shop"}}, {"snapshot"}),
    ({"teachers__line": {"model": LINE, "training": TEACH}}, {"teach@line"}),
    ({"recipes__fp32": {"steps": [{"kind": "acme-round"}]}}, {"compress@fp32"}),
    ({"recipes__fp32": {"search": SEARCH}}, {"compress@fp32"}),
    ({"gates__further": [{"kind": "acme-bias", "limit": 1}]}, {"evaluate"}),
]
COMPRESS = {f"compress@{name}" for name in ("fp32", "neurons", "int8-dynamic", "fp16")}
USERS += [
    ({f"students__{name}": value}, {"distil@student", *COMPRESS})
    for name, value in (
        ("student__model", LINE),
        ("student__soft", {"kind": "acme-gap"}),
        ("student__terms", [{"kind": "acme-gap", "weight": 2.0}]),
        ("student__assistant", {"model": LINE, "training": TEACH}),
    )
]


@pytest.mark.parametrize(("section", "users"), USERS, ids=str)
def test_a_changed_package_changes_what_its_users_track_and_nothing_else(
    section: dict[str, Any], users: set[str], site: Path
) -> None:
    workload = customers(**section)
    before = opened(workload)
    install_acme(site, "1.2", gate="\n# another line\n")
    lines = changed(before, opened(workload))
    assert set(lines) == users
    assert all(len(line) == 1 and line[0].startswith("plugin acme 1.2 changed: sha256 ") for line in lines.values())


def test_a_changed_kind_of_learning_reruns_all_that_learn(site: Path) -> None:
    workload = load_workload(PROJECT / "tests" / "plugins" / "params.yaml", "visits")
    before = opened(workload)
    assert before["code"]["problem"] == "tasks/problems/blocks/__init__.py"
    for dep in {dep for stage in graph(before).stages.values() for dep in stage.deps if dep.startswith("tasks/")}:
        assert (PROJECT / dep).exists(), dep
    assert set(changed(before, opened(workload))) == set()
    install_acme(site, "1.3")
    lines = changed(before, opened(workload))
    assert {name.split("@")[0] for name in lines} == STAGES - {"promote", "report"}
    assert {line for found in lines.values() for line in found} == {"plugin acme 1.2 → 1.3"}


def test_a_package_that_comes_or_goes_is_named(site: Path) -> None:
    without, used = opened(customers()), opened(customers(source={"kind": "acme-shop"}))
    before, now = tracked(without)["snapshot"], tracked(used)["snapshot"]
    assert "plugin acme 1.2 was added" in differences(before, now, set())
    assert "plugin acme 1.2 is no longer used" in differences(now, before, set())


def test_a_run_yaml_of_before_there_were_plugins_is_read_as_one_that_uses_none() -> None:
    workload = customers()
    now = opened(workload)
    old = {key: value for key, value in now.items() if key not in ("plugins", "code")}
    assert parse_run(yaml.safe_dump(old)).to_yaml() == parse_run(yaml.safe_dump(now)).to_yaml()
    assert parse_run(yaml.safe_dump(old)).section() == workload
    assert now["plugins"]["source"] == now["plugins"]["gates"] == now["plugins"]["teachers"]["mlp-wide"] == {}
    teachers = {"kept": {}, "taught": ["mlp-deep", "mlp-wide"]}
    expected = {"problem": "tasks/problems/tabular", "refit": [], "candidates": "artifacts/candidates", **teachers}
    assert now["code"] == expected


def test_a_stage_refuses_a_package_that_is_not_the_run_s(site: Path) -> None:
    run = opened(customers(source={"kind": "acme-shop"}))
    require_installed(run["plugins"], ["source", "problem"])
    install_acme(site, loss="\n# other bytes\n")
    with pytest.raises(ConfigError, match=r"plugin acme 1\.2: the run was opened with other files of it than"):
        require_installed(run["plugins"], ["source", "problem"])
    require_installed(run["plugins"], ["problem", "teachers.mlp-wide"])
    with pytest.raises(ConfigError, match=r"plugin beta 9: is not installed here"):
        require_installed({"gates": {"beta": {"version": "9", "sha256": "0"}}}, ["gates"])


def test_a_gate_that_no_package_adds_is_refused_when_the_run_is_opened() -> None:
    with pytest.raises(
        ConfigError, match=r"gates\.further\.0\.kind: no package that is installed here adds 'acme-bias'"
    ):
        installed(customers(gates__further=[{"kind": "acme-bias", "limit": 1}]))
