"""Each file of workloads/: it validates and plans without a network, and tables of its make become rows."""

from pathlib import Path

import numpy as np
import pytest

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.params import find_sections
from tasks.gates.accuracy import against_naive, not_too_good
from tasks.gates.champion import Champion
from tasks.pipeline.graph import load_graph
from tasks.planning.soundness import require_sound
from tasks.tables.validation.preview import preview
from tests.gallery import MAKES, NIGHT, made

PROJECT = Path(__file__).parents[3]
NAMES = [name for name, found in find_sections(PROJECT / "params.yaml").items() if found.label != "params.yaml"]


def test_there_are_some() -> None:
    assert set(MAKES) | {"price", "churn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_validates_and_plans_without_a_network(name: str) -> None:
    section = load_workload(PROJECT / "params.yaml", name)
    require_sound(name, section, PROJECT, f"workloads/{name}.yaml")
    run = Run(**dict(section), workload=name, as_of=NIGHT, champion=0)
    stages = load_graph((PROJECT / "dvc.yaml").read_text(), run.model_dump(mode="json")).stages
    assert {*(f"teach@{teacher}" for teacher in section.teachers), "distil@student", "distil@twin"} <= set(stages)
    assert section.schedule is None
    # Of returns next to nothing is known ahead; of 1 - NDCG most is lost to anybody, so small shares of it are much.
    least = {"finance": 0.001, "recommendation": 0.02}.get(name, 0.05)
    assert section.gates.accuracy.naive_margin >= least, "no better than the naive answer is no release"


@pytest.mark.parametrize("name", MAKES)
def test_a_small_table_of_its_make_is_valid_and_becomes_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = load_workload(PROJECT / "params.yaml", name)
    fewer = {"test_origins": 2, "valid_origins": 2, "stride": 24}
    problem, source, contracts = made(name, section, tmp_path, monkeypatch, **fewer)
    found = preview(source, contracts, section.checks, "package", NIGHT, name)
    assert found.failed == []
    tables = {name: table.lazy() for name, table in source.fetch(NIGHT).tables.items()}
    dataset = problem.features(tables, NIGHT)
    assert {split: len(rows) > 0 for split, rows in dataset.splits.items()} == dict.fromkeys(dataset.splits, True)
    rows = dataset.splits["test"]
    assert len(rows) == 2 * len(set(dataset.segments.get(next(iter(dataset.segments), ""), [1])))
    # Known-bad candidates of this workload: one that repeats the season, and one that knows what comes.
    truth = np.asarray(dataset.target(rows))
    naive = problem.score(problem.naive(dataset, rows), truth)
    outputs = dataset.contract.output_shape[-1]
    knowing = problem.score(np.repeat(np.nan_to_num(truth)[:, :, None], outputs, axis=2), truth)
    rule = section.gates.accuracy
    assert np.isfinite(naive.error) and naive.error > 0
    assert not against_naive("repeats", naive, naive, rule).passed
    assert not not_too_good("knows", knowing, naive, Champion(0), rule).passed
