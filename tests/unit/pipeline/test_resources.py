"""Limits of stages' containers: who wins, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.cli.main import main
from tasks.config.workload import load_workloads
from tasks.core.errors import ConfigError
from tasks.pipeline.resources import Limits, Resources, ResourcesError, to_bytes

PROJECT = Path(__file__).parents[3]


def test_a_member_wins_over_its_kind_and_its_kind_over_the_default() -> None:
    section = {
        "default": {"cpus": 2, "memory": "1Gi"},
        "teach": {"memory": "3Gi"},
        "teach@lstm": {"workspace": "8Gi", "cpus": 0.5},
    }
    resources = Resources(section)
    assert resources.of("features") == Limits(cpus=2, memory="1Gi", workspace="2Gi")
    assert resources.of("teach@tcn") == Limits(cpus=2, memory="3Gi", workspace="2Gi")
    assert resources.of("teach@lstm") == Limits(cpus=0.5, memory="3Gi", workspace="8Gi")
    assert Resources(None).of("plan") == Limits()


def test_the_last_fit_has_the_largest_limits_of_what_it_repeats() -> None:
    section: dict[str, Any] = {
        "default": {"memory": "1Gi"},
        "teach": {"cpus": 2},
        "teach@lstm": {"memory": "6Gi"},
        "compress": {"workspace": "3Gi"},
        "evaluate": {"memory": "9Gi"},
    }
    assert Resources(section).of("refit@newest") == Limits(cpus=2, memory="6Gi", workspace="3Gi")
    told = Resources({**section, "refit": {"memory": "2Gi"}})
    assert told.of("refit@newest") == Limits(cpus=2, memory="2Gi", workspace="3Gi")
    assert Resources(None).of("refit@newest") == Limits()


@pytest.mark.parametrize(("quantity", "expected"), [("512Mi", 536870912), ("4Gi", 4294967296), ("1Ki", 1024)])
def test_quantities(quantity: str, expected: int) -> None:
    assert to_bytes(quantity) == expected


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"memory": "4GiB"}, r"resources\.teach\.memory: .*'4GiB' is no quantity; write a whole number and Ki, Mi, Gi"),
        ({"memory": "1x"}, r"resources\.teach\.memory"),
        ({"memory": "-1Gi"}, r"resources\.teach\.memory"),
        ({"workspace": "0Gi"}, r"resources\.teach\.workspace"),
        ({"cpus": 0}, r"resources\.teach\.cpus"),
        ({"cpus": "many"}, r"resources\.teach\.cpus"),
        ({"memmory": "4Gi"}, r"resources\.teach\.memmory"),
        ("4Gi", r"resources\.teach: expected cpus, memory, workspace"),
    ],
)
def test_limits_that_nobody_could_keep_are_refused(limits: Any, said: str) -> None:
    with pytest.raises(ResourcesError, match=said):
        Resources({"teach": limits})


def changed(tmp_path: Path, resources: Any) -> Path:
    document = yaml.safe_load((PROJECT / "params.yaml").read_text())
    document["workloads"]["sales"]["resources"] = resources
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_params_yaml_is_held_to_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml: workloads\.sales\.resources: .*resources\.teach\.memory"):
        load_workloads(changed(tmp_path, {"teach": {"memory": "4GiB"}}))


def test_check_names_a_stage_that_there_is_none_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dvc.yaml").write_text((PROJECT / "dvc.yaml").read_text())
    changed(tmp_path, {"teech": {"memory": "4Gi"}})
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    monkeypatch.setenv("NIGHTSTILL_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit) as caught:
        main(["check", "sales"])
    assert caught.value.code == 78
    assert "workloads.sales.resources: no stage teech" in capsys.readouterr().err
