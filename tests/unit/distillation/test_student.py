"""A student under each strategy: reproducible and resumable to the bit, and changed by what it is told to learn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.distillation.ensemble import SOFT
from tasks.distillation.knowledge import SHOWN, WEIGHTS, Knowledge, load_knowledge
from tasks.distillation.options import Student, Teacher, Training
from tasks.distillation.student import Distilled, distil, fine_tuning_objective, training_data
from tasks.distillation.teacher import assign_folds, fold_rows, held_out_features, teach
from tasks.distillation.trainer import features, set_up, train
from tasks.problems.blocks.weights import save_weights
from tasks.problems.models import build_model
from tests.unit.distillation.memory import Killed, Memory

TRAINING = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}
MODEL = {"kind": "linear-mlp", "hidden": 6, "embedding": 2, "projection": 2}
TEACHER = Teacher(
    model=Spec.model_validate({**MODEL, "hidden": 12}), training=Training.model_validate(TRAINING), keep=("features",)
)
ASSISTANT = {"model": {**MODEL, "hidden": 8}, "training": TRAINING}


def student(**fields: Any) -> Student:
    return Student.model_validate({"model": MODEL, "training": TRAINING, "alpha": 0.5, **fields})


@pytest.fixture(scope="module")
def taught(sales: Any) -> Any:
    set_up(5, 1)
    return teach(sales.dataset, sales.problem(), TEACHER, folds=2, seed=5)


@pytest.fixture(scope="module")
def knowledge(sales: Any, taught: Any, tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    folder = tmp_path_factory.mktemp("teachers") / "big"
    folder.mkdir()
    np.save(folder / SOFT, taught.soft)
    np.save(folder / SHOWN["features"], held_out_features(taught.model, sales.dataset, 5))
    (folder / WEIGHTS).write_bytes(save_weights(taught.model.members[0]))
    return load_knowledge(folder.parent, "mean")


def no_checkpoint(part: str) -> None:
    return None


def distilled(
    sales: Any,
    knowledge: Knowledge,
    checkpoint: Callable[[str], Any] = no_checkpoint,
    progress: Any = None,
    **fields: Any,
) -> Distilled:
    def silent(part: str) -> Any:
        return lambda epoch, loss, error: None

    return distil(
        sales.dataset,
        sales.problem(),
        student(**fields),
        knowledge,
        folds=2,
        seed=5,
        checkpoint=checkpoint,
        progress=progress or silent,
    )


STRATEGIES: dict[str, dict[str, Any]] = {
    "pinball": {"soft": {"kind": "pinball"}},
    "distribution": {"soft": {"kind": "distribution"}},
    "series": {"terms": [{"kind": "frequency", "weight": 0.3}, {"kind": "multi-scale"}]},
    "hint": {"terms": [{"kind": "hint"}]},
    "relations": {"soft": {"kind": "none"}, "terms": [{"kind": "relation"}, {"kind": "similarity"}]},
    "schedule": {"schedule": {"kind": "linear", "from": 0.1}},
    "attenuate": {"attenuate": True},
    "gap": {"adapt": {"kind": "gap"}},
    "correctness": {"adapt": {"kind": "correctness"}},
    "learned": {"adapt": {"kind": "learned"}, "terms": [{"kind": "hint"}]},
    "start": {"start_from": "big"},
    "assistant": {"assistant": ASSISTANT, "terms": [{"kind": "hint"}]},
    "jitter": {"augment": {"kind": "jitter"}, "terms": [{"kind": "hint"}]},
    "mixup": {"augment": {"kind": "mixup"}},
}


@pytest.fixture(scope="module")
def plain(sales: Any, knowledge: Knowledge) -> bytes:
    return save_weights(distilled(sales, knowledge).model)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_student_is_reproducible_and_resumes_to_the_bit(
    sales: Any, knowledge: Knowledge, plain: bytes, name: str
) -> None:
    fields = STRATEGIES[name]
    whole = save_weights(distilled(sales, knowledge, **fields).model)
    assert whole != plain, "the strategy does nothing"
    stores: dict[str, Memory] = {}
    ran: list[str] = []

    def progress(part: str) -> Any:
        def report(epoch: int, loss: float, error: float) -> None:
            ran.append(f"{part} {epoch}")
            if ran[-1] == "student 1" and ran.count("student 1") == 1:
                raise Killed

        return report

    def checkpoint(part: str) -> Memory:
        return stores.setdefault(part, Memory())

    with pytest.raises(Killed):
        distilled(sales, knowledge, checkpoint, progress, **fields)
    resumed = distilled(sales, knowledge, checkpoint, progress, **fields)
    assert ran[-2:] == ["student 1", "student 2"], "it did not go on from the checkpoint"
    assert save_weights(resumed.model) == whole


def test_a_checkpoint_of_other_terms_is_not_taken(sales: Any, knowledge: Knowledge) -> None:
    memory = Memory()
    hint = save_weights(distilled(sales, knowledge, lambda part: memory, terms=[{"kind": "hint"}]).model)
    other: dict[str, Any] = {"terms": [{"kind": "hint", "weight": 2.0}]}
    assert memory.data is not None
    result = save_weights(distilled(sales, knowledge, lambda part: memory, **other).model)
    assert result == save_weights(distilled(sales, knowledge, **other).model) != hint


def test_the_twin_takes_nothing_from_the_teacher(sales: Any, knowledge: Knowledge) -> None:
    nothing = Knowledge({}, {}, {})
    twin = save_weights(distilled(sales, nothing, alpha=1.0).model)
    copied = {**STRATEGIES["hint"], **STRATEGIES["schedule"], **STRATEGIES["start"], **STRATEGIES["assistant"]}
    assert save_weights(distilled(sales, nothing, alpha=1.0, attenuate=True, **copied).model) == twin


def test_the_assistants_labels_take_the_teachers_place(sales: Any, knowledge: Knowledge, taught: Any) -> None:
    found = distilled(sales, knowledge, assistant=ASSISTANT)
    labels = found.assistant
    splits = sales.dataset.splits
    assert labels is not None and labels.shape == taught.soft.shape
    assert np.isfinite(labels[splits["train"]]).all() and not np.allclose(
        labels[splits["train"]], taught.soft[splits["train"]]
    )
    direct = distilled(sales, Knowledge({"assistant": labels}, {}, {}))
    assert save_weights(direct.model) == save_weights(found.model)
    assert distilled(sales, knowledge).assistant is None


def test_features_are_those_of_the_fold_model_that_did_not_learn_from_the_row(sales: Any, taught: Any) -> None:
    dataset = sales.dataset
    kept = held_out_features(taught.model, dataset, 5)
    assert kept.dtype == np.float16 and len(kept) == len(dataset.groups)
    fold_of = assign_folds(dataset.groups, 2, 5)
    for fold, member in enumerate(taught.model.members):
        _, rows = fold_rows(dataset.splits["train"], fold_of, fold)
        np.testing.assert_array_equal(kept[rows], features(member, dataset, rows).astype(np.float16))
        assert not np.allclose(kept[rows], features(taught.model.members[1 - fold], dataset, rows), atol=1e-3)
    assert np.isnan(kept[dataset.splits["test"]]).all() and np.isnan(kept[dataset.splits["valid"]]).all()


def test_missing_features_are_refused(sales: Any, knowledge: Knowledge) -> None:
    broken = np.array(knowledge.shown["features"]["big"])
    broken[sales.dataset.splits["train"][7]] = np.nan
    with pytest.raises(DataError, match="missing for some training rows"):
        distilled(sales, Knowledge(knowledge.soft, {"features": {"big": broken}}, {}), terms=[{"kind": "hint"}])
    with pytest.raises(ConfigError, match=r"no features of any; set keep: \[features\]"):
        distilled(sales, Knowledge(knowledge.soft, {}, {}), terms=[{"kind": "hint"}])
    with pytest.raises(ConfigError, match=r"start_from: no weights of big; set keep: \[weights\] for teachers.big"):
        distilled(sales, Knowledge(knowledge.soft, {}, {}), start_from="big")


def test_fine_tuning_has_the_students_losses_but_no_features_and_no_schedule(sales: Any, knowledge: Knowledge) -> None:
    dataset, problem = sales.dataset, sales.problem()
    soft = knowledge.ensemble(problem, dataset)

    def tuned(**fields: Any) -> bytes:
        objective = fine_tuning_objective(dataset, problem, student(**fields), soft)
        assert not list(objective.parameters())
        set_up(0, 1)
        model = build_model(Spec.model_validate(MODEL), dataset.contract)
        train(model, training_data(dataset, problem), objective, Training.model_validate(TRAINING), seed=1)
        return save_weights(model)

    series = {"soft": {"kind": "squared"}, "terms": [{"kind": "frequency"}]}
    more = {**series, "terms": [{"kind": "frequency"}, {"kind": "hint"}], "schedule": {"kind": "linear", "from": 0}}
    assert tuned(**more) == tuned(**series) != tuned()
    only_features = {"soft": {"kind": "none"}, "terms": [{"kind": "hint"}]}
    assert tuned(**only_features) == tuned(alpha=1.0), "nothing is left to learn from the teacher"


def test_teachers_are_weighed_as_the_workload_says(sales: Any, tmp_path: Path) -> None:
    dataset = sales.dataset
    truth = np.repeat(dataset.target(np.arange(84))[:, :, None], dataset.contract.output_shape[1], axis=2)
    for name, factor in (("a", 0.9), ("b", 1.3)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / SOFT, (factor * truth).astype(np.float32))
    (tmp_path / "about.txt").write_text("no teacher")
    weighed = load_knowledge(tmp_path, "validation").ensemble(sales.problem(), dataset)
    np.testing.assert_allclose(weighed, truth, rtol=0.01)
    plain = load_knowledge(tmp_path, "mean").ensemble(sales.problem(), dataset)
    np.testing.assert_allclose(plain, 1.1 * truth, rtol=1e-5)
