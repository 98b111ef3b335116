"""A teacher that is kept for many nights: trained once a period, with older rows alone; it labels each night's rows."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from tasks.compression.runtime import OnnxModel
from tasks.config.run import Run, parse_run
from tasks.config.workload import Workload
from tasks.core.errors import ConfigError, DataError
from tasks.core.files import read_json, write_json
from tasks.core.settings import Settings
from tasks.distillation.kept import MEAN, KeptTeacher, check_kept, learned_rows, row_digests
from tasks.distillation.options import Teacher
from tasks.distillation.teacher import assign_folds
from tasks.gates.evaluation_set import EvaluationSet
from tasks.pipeline.graph import load_graph
from tasks.pipeline.handover.locks import foretell
from tasks.pipeline.resources import Resources
from tasks.problems import get_problem
from tasks.problems.base import Raw
from tasks.problems.contracts import contract_from_json
from tasks.reporting.collect import Material, collect
from tasks.stages import evaluate, features, keep, label, snapshot, teach
from tasks.stages.context import Context
from tests.conftest import LAST_DAY, PROJECT, small_customers
from tests.unit.pipeline.test_code_dependencies import undeclared

NET = {"kind": "mlp", "hidden": [8]}


def period(as_of: date) -> date:
    found = Teacher.model_validate({"model": NET, "every": "7d"}).since(as_of)
    assert found is not None
    return found


def test_a_period_begins_on_the_same_day_whatever_nights_there_are() -> None:
    days = [LAST_DAY + timedelta(days=day) for day in range(15)]
    assert all(day - timedelta(days=7) < period(day) <= day for day in days)
    assert len({period(day) for day in days}) == 3
    assert {period(day).weekday() for day in days} == {0}
    assert Teacher.model_validate({"model": NET}).since(LAST_DAY) is None


@pytest.mark.parametrize("every", ["", "0d", "d", "30", "4w", "-3d", "1.5d", "9999d"])
def test_other_periods_are_refused(every: str) -> None:
    with pytest.raises(ValueError, match="every"):
        Teacher.model_validate({"model": NET, "every": every})


def section(root: Path) -> dict[str, Any]:
    found = small_customers(root)
    found["teachers"] = {"kept": {**found["teachers"]["mlp"], "every": "7d"}, "nightly": found["teachers"]["mlp"]}
    return found


def inputs_of(run: Run) -> Mapping[str, str]:
    """The key of each stage that reads no other's outputs, and what a stage is called."""
    data = run.model_dump(mode="json")
    graph = load_graph((PROJECT / "dvc.yaml").read_text(), data)
    first = {name: stage for name, stage in graph.stages.items() if not stage.upstream}
    keys = {
        name: foretell(stage, graph, {}, {"run.yaml": data}, PROJECT, lambda _: []).key for name, stage in first.items()
    }
    return dict.fromkeys(graph.stages, "") | keys


def test_the_training_of_a_kept_teacher_is_reused_within_its_period_and_no_longer(tmp_path: Path) -> None:
    found = section(tmp_path)
    monday = period(LAST_DAY)
    nights = [Run(**found, workload="w", as_of=monday + timedelta(days=day), champion=day) for day in (0, 6, 7)]
    first, last, next_one = map(inputs_of, nights)
    assert first["keep@kept"] == last["keep@kept"] != next_one["keep@kept"]
    assert first["snapshot"] != last["snapshot"]
    assert {"label@kept", "teach@nightly"} < set(first) and not {"teach@kept", "keep@nightly"} & set(first)
    assert nights[1].code.kept == {"kept": monday} and parse_run(nights[1].to_yaml()).code == nights[1].code


def test_a_section_alone_and_an_old_run_give_the_same_stages(tmp_path: Path) -> None:
    found = section(tmp_path)
    run = Run(**found, workload="w", as_of=LAST_DAY, champion=0)
    text = (PROJECT / "dvc.yaml").read_text()
    stages = set(load_graph(text, run.model_dump(mode="json")).stages)
    assert set(load_graph(text, Workload.model_validate(found).model_dump(mode="json")).stages) == stages
    old = yaml.safe_load(run.to_yaml())
    del old["code"]["kept"], old["code"]["taught"]
    assert parse_run(yaml.safe_dump(old)) == run and run.section() == Workload.model_validate(found)


@pytest.mark.parametrize("name", ["keep", "label"])
def test_the_stages_declare_all_code_that_they_import(tmp_path: Path, name: str) -> None:
    run = Run(**section(tmp_path), workload="w", as_of=LAST_DAY, champion=0)
    stage = load_graph((PROJECT / "dvc.yaml").read_text(), run.model_dump(mode="json")).stages[f"{name}@kept"]
    kind = (PROJECT / run.code.problem).rglob("*.py")
    assert undeclared(stage.deps, PROJECT / "tasks" / "stages" / f"{name}.py", *kind) == []


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, Context]:
    """The first night of a period, on which the teacher is trained, and the fifth, on which there are newer rows."""
    root = tmp_path_factory.mktemp("kept")
    found, settings = section(root), Settings(home=root / "home", project=root)
    contexts = []
    for day in (period(LAST_DAY), LAST_DAY):
        run = Run(**found, workload="w", as_of=day, champion=0)
        context = Context(run, settings, root / str(day), root / str(day) / "pages")
        snapshot.take(context, earlier=True)
        features.run(context)
        contexts.append(context)
    first, fifth = contexts
    assert first.run.as_of < fifth.run.as_of
    keep.run(first, "kept")
    (fifth.artifacts / "kept").symlink_to(first.artifacts / "kept")
    for context in contexts:
        label.run(context, "kept")
    return first, fifth


def test_it_was_trained_with_no_row_after_its_day(nights: tuple[Context, Context], watched: Context) -> None:
    first, _ = nights
    assert first.run.as_of < watched.run.as_of, "whatever night of its period trains it"
    for file in ("teacher.onnx", "fold-0.onnx", "learned.parquet", "contract.json"):
        once, again = ((each.artifacts / "kept" / "kept" / file).read_bytes() for each in (first, watched))
        assert once == again, file


def test_it_labels_the_rows_of_each_night_as_a_model_that_has_not_learned_from_them(
    nights: tuple[Context, Context],
) -> None:
    first, fifth = nights
    problem, folder = get_problem(fifth.run.problem), fifth.artifacts / "kept" / "kept"
    contract = contract_from_json(json.loads((folder / "contract.json").read_text()))
    learned = dict(pl.read_parquet(folder / "learned.parquet").select("digest", "fold").iter_rows())
    for context in (first, fifth):
        dataset = problem.load(context.artifacts / "features")
        soft = np.load(context.artifacts / "teachers" / "kept" / "soft.npy")
        assert np.isnan(soft[dataset.splits["test"]]).all()
        theirs, rows = dataset.under(contract), np.concatenate([dataset.splits["train"], dataset.splits["valid"]])
        fold = np.array([learned.get(digest, MEAN) for digest in row_digests(theirs, rows)])
        for number in np.unique(fold):
            model = folder / ("teacher.onnx" if number == MEAN else f"fold-{number}.onnx")
            some = rows[fold == number]
            np.testing.assert_array_equal(soft[some], OnnxModel(model.read_bytes())(theirs.inputs(some)))
        known = sum(digest in learned for digest in row_digests(theirs, rows))
        told = read_json(context.artifacts / "teachers" / "kept" / "about.json")["kept"]
        assert told == {"since": str(period(LAST_DAY)), "learned_rows": known, "other_rows": len(rows) - known}
        assert known >= len(dataset.splits["train"]) if context is first else known < len(rows)


def test_a_fold_model_did_not_learn_from_the_rows_that_it_labels(nights: tuple[Context, Context]) -> None:
    first, _ = nights
    dataset = get_problem(first.run.problem).load(first.artifacts / "features")
    learned = dict(pl.read_parquet(first.artifacts / "kept" / "kept" / "learned.parquet").iter_rows())
    rows = dataset.splits["train"]
    fold_of = assign_folds(dataset.groups, first.run.folds, first.run.seed)
    for row, digest in zip(rows, row_digests(dataset, rows), strict=True):
        assert learned[digest] in (fold_of[row], -1)


def test_its_file_is_measured_with_inputs_as_it_reads_them(nights: tuple[Context, Context]) -> None:
    _, fifth = nights
    problem = get_problem(fifth.run.problem)
    evaluation = EvaluationSet(problem, problem.load(fifth.artifacts / "features"))
    contract = contract_from_json(read_json(fifth.artifacts / "teachers" / "kept" / "contract.json"))
    assert contract.statistics != evaluation.dataset.contract.statistics, "both nights are alike"
    expected = evaluation.under(contract).run((fifth.artifacts / "kept" / "kept" / "teacher.onnx").read_bytes())
    np.testing.assert_array_equal(evaluate._output(fifth, "kept", evaluation), expected)


def test_rows_that_it_cannot_read_are_told(nights: tuple[Context, Context], tmp_path: Path) -> None:
    _, fifth = nights
    other = replace(fifth, root=tmp_path)
    for name in ("features", "snapshot"):
        (tmp_path / "artifacts").mkdir(exist_ok=True)
        (tmp_path / "artifacts" / name).symlink_to(fifth.artifacts / name)
    mine, theirs = tmp_path / "artifacts" / "kept" / "kept", fifth.artifacts / "kept" / "kept"
    mine.mkdir(parents=True)
    for file in theirs.iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    contract = read_json(mine / "contract.json")
    contract["statistics"]["edges"] = [1.0, 2.0]
    write_json(mine / "contract.json", contract)
    with pytest.raises(DataError, match=r"a kept teacher cannot label tonight's rows: .*edges.*; change its `every`"):
        label.run(other, "kept")


def test_it_labels_no_night_whose_test_rows_it_has_learned_from(nights: tuple[Context, Context]) -> None:
    first, _ = nights
    dataset = get_problem(first.run.problem).load(first.artifacts / "features")
    learned = learned_rows(dataset, first.run.folds, first.run.seed)
    teacher = KeptTeacher(b"", [], dataset.contract, learned)
    own = dataset.splits
    teacher._require_unseen(dataset, dataset)
    moved, stay = own["train"][-30:], own["train"][:-30]
    dataset.splits = {**own, "test": np.concatenate([own["test"], own["train"][:30]])}
    teacher._require_unseen(dataset, dataset)  # equal rows that are in both
    dataset.splits = {**own, "train": stay, "test": np.concatenate([moved, own["test"]])}
    with pytest.raises(
        DataError, match=r"learned from \d+ of tonight's test rows, .* leave out its `every`, or .*--force"
    ):
        teacher.label(dataset, Raw({}, first.run.as_of))


@pytest.mark.parametrize(
    ("teacher", "refit", "said"),
    [
        ({"keep": ["weights"]}, False, r"teachers\.kept\.every: .*leave keep out"),
        ({"processes": 2}, False, r"teachers\.kept\.every: .*resources\.teach@kept: .*nodes: 1"),
        ({}, True, r"teachers\.kept\.every: the last fit"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path: Path, teacher: Any, refit: bool, said: str) -> None:
    problem = get_problem(Workload.model_validate(section(tmp_path)).problem)
    kept = Teacher.model_validate({"model": NET, "every": "7d", **teacher})
    with pytest.raises(ConfigError, match=said):
        check_kept(problem, {"kept": kept}, {}, refit=refit)


def second_night(first: Context, root: Path, until: float, factor: float) -> Context:
    """A night of the same period whose newer amounts are `factor` times larger; the kept teacher is the first's."""
    found = first.run.section().model_dump(mode="json")
    found["teachers"]["kept"]["until_drift"] = until
    run = Run(**found, workload="w", as_of=LAST_DAY, champion=0)
    project = root / "project"
    project.mkdir(parents=True)
    whole = pl.read_parquet(first.settings.project / "customers.parquet")
    larger = pl.when(pl.col("day") > first.run.as_of - timedelta(days=21)).then(pl.col("paid") * factor)
    whole.with_columns(larger.otherwise(pl.col("paid")).alias("paid")).write_parquet(project / "customers.parquet")
    context = Context(run, Settings(home=root / "home", project=project), root, root / "pages")
    snapshot.take(context)
    features.run(context)
    return context


@pytest.fixture(scope="module")
def watched(nights: tuple[Context, Context], tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The first night, with a teacher that is kept until the data move."""
    root = tmp_path_factory.mktemp("watched")
    context = second_night(nights[0], root, 0.25, 1.0)
    keep.run(context, "kept")
    assert (context.artifacts / "kept" / "kept" / "profile.json").is_file()
    return context


def test_quiet_data_keep_it_and_data_that_moved_train_it_anew(watched: Context, tmp_path: Path) -> None:
    moved = second_night(watched, tmp_path / "moved", 0.25, 4.0)
    (moved.artifacts / "kept").symlink_to(watched.artifacts / "kept")
    for context in (watched, moved):
        label.run(context, "kept")
    folders = [context.artifacts / "teachers" / "kept" for context in (watched, moved)]
    still, anew = (read_json(folder / "about.json")["kept"] for folder in folders)
    quiet, trained = ((folder / "teacher.onnx").read_bytes() for folder in folders)
    kept = (watched.artifacts / "kept" / "kept" / "teacher.onnx").read_bytes()
    assert quiet == kept != trained
    assert "ended" not in still and still["psi"] <= 0.25 and still["other_rows"] > 0
    assert anew["ended"].startswith("input paid has moved by") and anew["psi"] > 0.25
    # It is what stage teach would have made of tonight's rows, reads inputs as they do, and is made again alike.
    alone = replace(moved, root=tmp_path / "alone", pages=tmp_path / "alone")
    alone.artifacts.mkdir(parents=True)
    for name in ("features", "snapshot", "kept"):
        (alone.artifacts / name).symlink_to((moved.artifacts / name).resolve())
    teach.run(alone, "kept")
    theirs = alone.artifacts / "teachers" / "kept"
    assert (theirs / "teacher.onnx").read_bytes() == trained
    contract = moved.artifacts / "teachers" / "kept" / "contract.json"
    assert contract.read_bytes() == (moved.artifacts / "features" / "contract.json").read_bytes()
    assert not list(contract.parent.glob("fold-*.onnx")), "nobody labels by tonight's fold models"
    told = (moved.artifacts / "teachers" / "kept" / "about.json").read_bytes()
    label.run(alone, "kept")
    assert (theirs / "about.json").read_bytes() == told
    assert read_json(moved.pages / "label@kept.summary.json")["ended"] == anew["ended"]
    assert not (moved.pages / "teach@kept.summary.json").exists(), "no stage teach ran"
    for context, notes in ((watched, 0), (moved, 1)):
        said = [note for note in collect(Material(context.run, context.artifacts)).notes if anew["ended"] in note]
        assert len(said) == notes


def test_data_that_cannot_be_compared_are_told(watched: Context, tmp_path: Path) -> None:
    other = second_night(watched, tmp_path, 0.25, 1.0)
    mine = other.artifacts / "kept" / "kept"
    mine.mkdir(parents=True)
    for file in (watched.artifacts / "kept" / "kept").iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    write_json(mine / "profile.json", {"inputs": {}, "predictions": {}})
    with pytest.raises(DataError, match=r"teachers\.kept\.until_drift: .* no column that its own had; leave it out"):
        label.run(other, "kept")


def test_a_limit_needs_a_period_that_it_can_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="until_drift: it ends a period early, and there is none; set every"):
        Teacher.model_validate({"model": NET, "until_drift": 0.2})
    with pytest.raises(ValueError, match="until_drift"):
        Teacher.model_validate({"model": NET, "every": "7d", "until_drift": 0})
    run = Run(**section(tmp_path), workload="w", as_of=LAST_DAY, champion=0)
    assert "until_drift" not in run.to_yaml(), "locks of before would change"


def test_what_may_train_has_the_room_of_training() -> None:
    resources = Resources({"default": {"memory": "1Gi"}, "teach@kept": {"memory": "6Gi", "cpus": 2}})
    assert (resources.of("label@kept").memory, resources.of("label@kept").cpus) == ("6Gi", 2)
    assert resources.of("label@other").memory == "1Gi"
    assert Resources({"teach": {"memory": "6Gi"}, "label": {"memory": "2Gi"}}).of("label@kept").memory == "2Gi"
