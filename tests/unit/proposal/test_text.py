"""A section among the others of params.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.config.workload import load_workloads
from tasks.core.errors import ConfigError
from tasks.proposal.blocks.look import look
from tasks.proposal.forecasting.reasons import comments_of
from tasks.proposal.forecasting.section import section_of
from tasks.proposal.forecasting.seen import see
from tasks.proposal.text import add, require_new
from tests import newcomers

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def made(tmp_path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    seen = see(look(newcomers.monthly(tmp_path / "museum.csv")))
    return section_of("museum", "museum.csv", seen), comments_of(seen)


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes((PROJECT / "params.yaml").read_bytes())
    return path


def test_the_file_stays_as_it_is_and_the_section_follows(params: Path, made: Any) -> None:
    before = params.read_text()
    add(params, "museum", *made)
    after = params.read_text()
    assert after.startswith(before) and "\n  museum:\n    title:" in after
    assert "schedule: 0 5 * * *  # every day" in after
    assert yaml.safe_load(after)["workloads"]["museum"] == made[0]
    assert list(load_workloads(params)) == [*yaml.safe_load(before)["workloads"], "museum"]
    assert not list(params.parent.glob(".params*"))


def test_other_keys_and_indents_stay_too(params: Path, made: Any) -> None:
    sections = yaml.safe_load(params.read_text())["workloads"]
    text = yaml.safe_dump({"workloads": {"customers": sections["customers"]}}, indent=4) + "# last\nother: 1 # one"
    params.write_text(text)
    add(params, "museum", *made)
    assert list(load_workloads(params)) == ["customers", "museum"]
    assert params.read_text().endswith("other: 1 # one")


def test_a_file_in_another_form_is_left_alone(params: Path, made: Any) -> None:
    sections = yaml.safe_load(params.read_text())["workloads"]
    text = yaml.safe_dump({"workloads": {"customers": sections["customers"]}}, default_flow_style=True)
    params.write_text(text)
    with pytest.raises(ConfigError, match="--dry-run"):
        add(params, "museum", *made)
    assert params.read_text() == text


@pytest.mark.parametrize(
    ("name", "said"), [("sales", "workloads.sales is there already"), ("My_Shop", "'My_Shop' names no workload")]
)
def test_a_name_that_is_taken_or_none_is_refused(params: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        require_new(params, name)


@pytest.mark.parametrize(
    "text", ["workloads:\n", "# mine\nworkloads: {}  # none yet\nother: 1\n", "workloads:", "workloads: {}"]
)
def test_the_first_section_goes_into_an_empty_file(params: Path, made: Any, text: str) -> None:
    params.write_text(text)
    add(params, "museum", *made)
    after = params.read_text()
    assert list(load_workloads(params)) == ["museum"]
    assert [line in after for line in ("# mine", "# none yet", "other: 1")] == [
        line in text for line in ("# mine", "# none yet", "other: 1")
    ]


@pytest.mark.parametrize("text", ["other: 1\n", "workloads: 3\n"])
def test_a_file_without_sections_is_refused(params: Path, text: str) -> None:
    params.write_text(text)
    with pytest.raises(ConfigError, match="workloads: expected at least one section"):
        require_new(params, "museum")


def test_all_else_needs_a_section(params: Path) -> None:
    params.write_text("workloads:\n")
    with pytest.raises(ConfigError, match="workloads: expected at least one section"):
        load_workloads(params)
