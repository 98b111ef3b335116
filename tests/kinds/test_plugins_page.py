"""docs/plugins.md shows the example package, and its workload passes `nightstill check`."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tasks.cli import main as cli
from tests.plugins.install import ACME, install, visible

PROJECT = Path(__file__).parents[2]
PARAMS = PROJECT / "tests" / "plugins" / "params.yaml"


def test_every_block_of_the_page_stands_in_the_example_word_for_word() -> None:
    page = (PROJECT / "docs" / "plugins.md").read_text()
    blocks = re.findall(r"```(toml|python|yaml)\n(.*?)```", page, re.DOTALL)
    files = {
        "toml": (ACME / "pyproject.toml").read_text(),
        "python": "\n".join(file.read_text() for file in sorted((ACME / "acme").glob("*.py"))),
        "yaml": PARAMS.read_text(),
    }
    assert {form for form, _ in blocks} == set(files)
    for form, text in blocks:
        assert text in files[form], text


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with the example's params.yaml."""
    shutil.copy(PROJECT / "dvc.yaml", tmp_path)
    shutil.copy(PARAMS, tmp_path / "params.yaml")
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    monkeypatch.setenv("NIGHTSTILL_HOME", str(tmp_path / "home"))
    return tmp_path


def check(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(["check"])
    code = caught.value.code
    assert isinstance(code, int)
    said = capsys.readouterr()
    return code, said.err if code else said.out


def test_the_example_s_workload_is_in_order(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = check(capsys)
    assert code == 0 and "visits: ok" in said, said


def test_a_missing_a_double_and_a_broken_plugin_are_one_line_and_exit_code_78(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = yaml.safe_load(PARAMS.read_text())
    document["workloads"]["visits"]["source"] = {"kind": "acme-market"}
    (project / "params.yaml").write_text(yaml.safe_dump(document))
    missing = check(capsys)
    (project / "params.yaml").write_text(PARAMS.read_text())
    with visible(tmp_path / "other"):
        install(tmp_path / "other", "beta", "2", {"nightstill.gates": {"acme-bias": "beta:Bias"}}, {"beta.py": ""})
        double = check(capsys)
    document = yaml.safe_load(PARAMS.read_text())
    document["workloads"]["visits"]["gates"]["further"] = [{"kind": "odd"}]
    (project / "params.yaml").write_text(yaml.safe_dump(document))
    with visible(tmp_path / "odd"):
        files = {"gamma.py": "import library_that_is_not_there\n"}
        install(tmp_path / "odd", "gamma", "3", {"nightstill.gates": {"odd": "gamma:Odd"}}, files)
        broken = check(capsys)
    for (code, said), words in (
        (missing, "source.kind: unknown kind 'acme-market'; there are: complete-journey, "),
        (double, "gates.further.0.kind: 'acme-bias' of nightstill.gates is there more than once: acme 1.2, beta 2"),
        (broken, "gates.further.0.kind: 'odd' of gamma 3 cannot be loaded from gamma:Odd: ModuleNotFoundError"),
    ):
        assert code == 78 and words in said
        assert len(said.strip().splitlines()) == 1
