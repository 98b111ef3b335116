"""What the command line says of wrong usage: one line and exit code 64, which no runner tries again."""

from pathlib import Path

import pytest
import yaml

from tasks.cli import main as cli

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["run-stage"], "stage"),
        (["plan", "--workload", "sales", "--run-id", "r", "--as-of", "yesterday"], "as-of"),
        (["show", "sales", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 64
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said in line


def test_a_fault_of_ours_is_told_in_one_line_and_with_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(cli, "Settings", broken)
    with pytest.raises(SystemExit) as caught:
        cli.main(["show", "sales"])
    assert caught.value.code == 70
    told = capsys.readouterr().err
    assert "error: ZeroDivisionError: nothing to divide by" in told and "Traceback" in told


def searched(entry: dict[str, object]) -> dict[str, object]:
    return {"search": {"limits": {"error": 0.5}, "space": [entry]}}


@pytest.mark.parametrize(
    ("part", "name", "change", "said"),
    [
        (
            "recipes",
            "fp32",
            searched({"kind": "shrink", "keep": [0.5, 1.0]}),
            "recipes.fp32.search.space.0.kind: unknown kind 'shrink'",
        ),
        (
            "recipes",
            "fp32",
            searched({"kind": "neurons", "keep": [0.5, 2.0]}),
            "recipes.fp32.search.space.0.keep of kind neurons: ",
        ),
        (
            "recipes",
            "fp32",
            {"steps": [{"kind": "int8-static"}, {"kind": "neurons", "keep": 0.5}]},
            "params.yaml: workloads.sales.recipes.fp32.steps: neurons cannot follow int8-static, which does not leave",
        ),
        (
            "recipes",
            "fp32",
            {"steps": [{"kind": "channels", "keep": 0.5}]},
            "params.yaml: workloads.sales.recipes.fp32.steps: channels needs channels of convolutions that can leave, "
            "which students.student has not; drop the step, or give that student another model",
        ),
        (
            "recipes",
            "fp32",
            searched({"kind": "channels", "keep": [0.5, 1.0]}),
            "params.yaml: workloads.sales.recipes.fp32.search.space: channels needs channels of convolutions",
        ),
        (
            "students",
            "student",
            {"soft": {"kind": "kl"}},
            "params.yaml: workloads.sales.students.student.soft.kind: unknown kind 'kl'; there are: absolute",
        ),
        (
            "students",
            "student",
            {"terms": [{"kind": "hint"}]},
            "params.yaml: workloads.sales.students.student.terms.teacher: no features of any",
        ),
    ],
)
def test_check_names_the_wrong_field(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    name: str,
    change: dict[str, object],
    said: str,
) -> None:
    document = yaml.safe_load((PROJECT / "params.yaml").read_text())
    document["workloads"]["sales"][part][name] |= change
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "dvc.yaml").write_text((PROJECT / "dvc.yaml").read_text())
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    monkeypatch.setenv("NIGHTSTILL_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit) as caught:
        cli.main(["check", "sales"])
    assert caught.value.code == 78
    assert said in capsys.readouterr().err


def test_check_names_a_segment_that_will_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["workloads"]["sales"]["gates"]["segments"]["by"] = ["store_id", "region"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        cli.main(["check", "sales"])
    assert caught.value.code == 78
    assert "gates.segments.by: no segment column 'region'; there are: department, store_id" in capsys.readouterr().err


def test_check_names_a_workload_s_wrong_name_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text("workloads:\n  Sales_EU: {title: x, schedule: '0 3 * * *'}\n")
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        cli.main(["check", "Sales_EU"])
    assert caught.value.code == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert "workloads: 'Sales_EU' names no workload; use lower-case letters, digits and hyphens" in line
