"""params.yaml and run.yaml, validated once at the edge."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from tasks.config.run import Run, parse_run
from tasks.config.workload import load_workload, load_workloads
from tasks.core.config import read_yaml
from tasks.core.errors import ConfigError

PROJECT = Path(__file__).parents[3]


def test_run_yaml_round_trips_and_is_canonical() -> None:
    section = load_workload(PROJECT / "params.yaml", "sales")
    run = Run(**dict(section), workload="sales", as_of=date(2026, 11, 20), champion=2)
    assert parse_run(run.to_yaml()) == run
    assert parse_run(run.to_yaml()).to_yaml() == run.to_yaml()
    assert run.section() == section


@pytest.mark.parametrize(
    ("text", "value"), [("1e-05", 1e-5), ("2.5E3", 2500.0), ("-1e+2", -100.0), ("1e", "1e"), ("'1e-05'", "1e-05")]
)
def test_numbers_are_read_as_dvc_reads_them(text: str, value: object) -> None:
    assert read_yaml(f"rate: {text}") == {"rate": value}


def _changed(tmp_path: Path, change: dict[str, object]) -> Path:
    document = yaml.safe_load((PROJECT / "params.yaml").read_text())
    for dotted, value in change.items():
        place = document["workloads"]["sales"]
        *parents, last = dotted.split(".")
        for part in parents:
            place = place[part]
        place[last] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gates.size.max_bytes": -1}, r"workloads\.sales\.gates\.size\.max_bytes"),
        ({"gates.accuracy.limit": "low"}, r"gates\.accuracy\.limit"),
        ({"unknown": 1}, r"workloads\.sales\.unknown"),
        ({"teachers": {}}, r"teachers"),
        ({"students.student.alpha": 1.5}, r"students\.student\.alpha"),
        ({"recipes": {"Bad Name": {}}}, r"recipes\.Bad Name"),
        ({"recipes.fp32": {"search": {"limits": {"error": 0.5}, "trials": 0}}}, r"recipes\.fp32\.search\.trials: "),
        ({"recipes.fp32": {"search": {"limits": {}}}}, r"recipes\.fp32\.search: .*needs a limit on error or retention"),
    ],
)
def test_a_bad_field_is_named_with_its_file(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_workloads(_changed(tmp_path, change))
    assert str(tmp_path / "params.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(ConfigError, match="no such file"):
        load_workloads(path)
    path.write_text("workloads: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_workloads(path)
    path.write_text("x: 1")
    with pytest.raises(ConfigError, match="at least one section"):
        load_workloads(path)
    with pytest.raises(ConfigError, match="no workload 'nope'; there are: customers, sales"):
        load_workload(PROJECT / "params.yaml", "nope")
