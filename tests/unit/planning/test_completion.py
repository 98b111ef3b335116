"""A run that was opened before the pipeline asked for more goes on."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.pipeline.graph import load_graph
from tasks.planning.completion import completed

PROJECT = Path(__file__).parents[3]
PIPELINE = (PROJECT / "dvc.yaml").read_text()


@pytest.fixture
def run() -> Run:
    section = load_workload(PROJECT / "params.yaml", "sales")
    return Run(**dict(section), workload="sales", as_of=date(2026, 1, 1), champion=0)


def test_a_run_opened_before_goes_on(run: Run) -> None:
    before = run.model_dump(mode="json")
    before["code"] = {"problem": before["code"]["problem"]}
    for key in ("answer", "approval"):
        del before[key]
    text = completed(yaml.safe_dump(before), PIPELINE)
    assert text == run.to_yaml()
    assert load_graph(PIPELINE, yaml.safe_load(text)).stages["promote"].deps[-1] == "artifacts/candidates"


def test_a_parameter_alone_may_be_missing(run: Run) -> None:
    before = run.model_dump(mode="json")
    del before["answer"]
    assert completed(yaml.safe_dump(before), PIPELINE) == run.to_yaml()


def test_what_lacks_nothing_stays_as_it_is(run: Run) -> None:
    text = yaml.safe_dump({**run.model_dump(mode="json"), "of": "other code"})
    assert completed(text, PIPELINE) == text
    assert completed("as_of: 2026-01-01\n", PIPELINE) == "as_of: 2026-01-01\n"


def test_what_cannot_be_completed_is_left_to_the_stage(run: Run) -> None:
    before = run.model_dump(mode="json")
    del before["problem"]
    assert completed(yaml.safe_dump(before), PIPELINE) == yaml.safe_dump(before)
