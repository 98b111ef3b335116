"""Threads times stages side by side never exceed the cores."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.config.workload import Workload, load_workload
from tasks.pipeline.resources import Resources, cores, side_by_side
from tasks.planning.soundness import remarks

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize("threads", [1, 2, 3, 1000])
@pytest.mark.parametrize("jobs", [1, 2, 1000])
def test_stages_side_by_side_have_a_core_for_each_thread(jobs: int, threads: int) -> None:
    found = side_by_side(jobs, threads)
    assert 1 <= found <= jobs
    assert found == 1 or found * threads <= cores()
    assert found == jobs or (found + 1) * threads > cores(), "no more than needed is given up"


@pytest.mark.parametrize("threads", [0, -1, None, "two", 1.5])
def test_a_number_of_threads_that_a_check_refuses_counts_as_one(threads: Any) -> None:
    assert side_by_side(1000, threads) == side_by_side(1000, 1)


def test_each_process_of_a_stage_has_its_own_threads() -> None:
    assert side_by_side(1000, 1, cores()) == 1 == side_by_side(1000, cores(), 2)
    assert Resources({"teach": {"processes": 2}, "distil@a": {"processes": 3}, "default": {}}).processes == 3
    assert Resources(None).processes == Resources({"teach": {"cpus": 2}}).processes == 1


@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", 10**6), ("100000 100000", 1), ("50000 100000", 1), ("", 10**6)]
)
def test_a_container_has_no_more_cores_than_its_quota(tmp_path: Path, quota: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert cores(tmp_path / "cpu.max") == min(cores(tmp_path / "none"), most)


def test_a_check_says_what_is_too_much() -> None:
    section = load_workload(PROJECT / "params.yaml", "sales").model_dump(mode="json")
    stages = ("snapshot", "teach@lstm")
    assert list(remarks(Workload.model_validate(section), stages)) == []
    many = Workload.model_validate(section | {"threads": cores() + 1})
    here, container = remarks(many, stages)
    assert here.startswith(f"threads: {cores() + 1}, but there are {cores()} cores here")
    assert "a container of teach@lstm has 1 cpus" in container and "resources.default.cpus" in container
    divided = {"default": {"cpus": 10**6}, "distil": {"processes": cores() + 1}}
    said = list(remarks(Workload.model_validate(section | {"resources": divided}), stages))
    assert [line.partition(",")[0] for line in said] == [f"resources: {cores() + 1} processes of 1 threads"]
    enough = section | {"threads": cores() + 1, "resources": {"default": {"cpus": cores() + 1}}}
    assert len(list(remarks(Workload.model_validate(enough), stages))) == 1, "the container has its cores"


def test_waiting_threads_of_a_stage_give_up_their_core() -> None:
    code = (
        "import os; from tasks.cli.main import main\ntry: main(['check', '--help'])\nfinally: print(os.environ[NAME])"
    )
    told = f"NAME = 'OMP_WAIT_POLICY'\n{code}"
    bare = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    found = subprocess.run(
        [sys.executable, "-c", told], env=bare, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "passive"
