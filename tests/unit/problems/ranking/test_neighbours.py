"""A list of what follows each item says what the whole matrix of items by items says, as far as the list is long."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import OnnxModel
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.distillation.options import Student, Teacher
from tasks.distillation.parts import check_students
from tasks.distillation.start import start_from
from tasks.distillation.trainer import predict
from tasks.problems.blocks.weights import save_weights
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import HISTORY, make_contract
from tasks.problems.ranking.metrics import score_ranking
from tasks.problems.ranking.models.neighbours import Neighbours
from tests.unit.problems.ranking.films import dataset, problem
from tests.unit.problems.ranking.test_product import fitted, hits_and_chains

MADE = dataset(hits_and_chains(), split="leave-one-out")
TEACHER = fitted(MADE)
ROWS = MADE.splits["test"]


def started(kind: str = "neighbours", **options: int) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model(Spec(kind=kind, **options), MADE.contract)
    start_from(model, save_weights(TEACHER), {})
    return model.eval()


def error(model: torch.nn.Module) -> float:
    return score_ranking(predict(model, MADE, ROWS), MADE.target(ROWS)).error


def test_lists_of_all_items_say_what_the_teacher_says() -> None:
    history = torch.from_numpy(MADE.inputs(ROWS)[HISTORY])
    with torch.no_grad():
        found, expected = started(near=10 * MADE.size)(history), TEACHER(history)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_short_lists_keep_rare_items_that_narrow_tables_lose() -> None:
    lists, tables = started(near=16), started("decayed-sum", width=16)
    assert sum(each.numel() for each in lists.parameters()) < 0.6 * sum(each.numel() for each in tables.parameters())
    assert error(lists) < 0.9 * error(tables)
    assert error(lists) < 1.02 * error(TEACHER)


def test_nothing_follows_nothing_and_training_leaves_it_so() -> None:
    model = started(near=8).train()
    history = torch.zeros(4, MADE.contract.inputs[HISTORY][1][0], dtype=torch.int64)
    history[:2, -1] = 3
    search = torch.optim.Adam(model.parameters(), 0.1)
    model(history).square().sum().backward()
    search.step()
    with torch.no_grad():
        found = model(history)
    torch.testing.assert_close(found[2], model.get_parameter("bias").detach())
    assert not torch.allclose(found[0], found[2])


def test_its_file_says_the_same_and_holds_an_item_of_a_list_in_two_bytes() -> None:
    model = started(near=16)
    inputs = MADE.inputs(ROWS)
    data = export_onnx(model, MADE.contract, {name: part[:3] for name, part in inputs.items()})
    runtime = OnnxModel(data)
    np.testing.assert_allclose(runtime.run(MADE.batches(ROWS)), predict(model, MADE, ROWS), rtol=1e-4, atol=1e-4)
    kinds = {
        item.data_type: item for item in onnx.load_model_from_string(data).graph.initializer if len(item.dims) == 2
    }
    assert list(kinds[onnx.TensorProto.INT16].dims) == [MADE.size + 1, 16]


def test_a_teacher_without_such_a_matrix_is_refused() -> None:
    other = build_model(Spec(kind="neighbours"), make_contract(problem().options, ["a", "b", "c"]))
    assert isinstance(other, Neighbours) and other.near == 3
    with pytest.raises(ConfigError, match="start_from"):
        start_from(other, save_weights(TEACHER), {})


EASE: dict[str, Any] = {"ease": {"model": {"kind": "ease"}, "keep": ["weights"]}}
LISTS: dict[str, Any] = {
    "model": {"kind": "neighbours", "near": 8},
    "training": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "patience": 1},
    "alpha": 0.5,
    "start_from": "ease",
}


def checked(teachers: dict[str, Any], student: dict[str, Any]) -> None:
    check_students(
        problem(),
        {name: Teacher.model_validate(each) for name, each in teachers.items()},
        {"student": Student.model_validate(student)},
    )


def test_lists_of_a_teacher_can_be_trained() -> None:
    checked(EASE, LISTS)


@pytest.mark.parametrize(
    "changed", [{"start_from": None}, {"alpha": 1.0}, {"assistant": {key: LISTS[key] for key in ("model", "training")}}]
)
def test_empty_lists_are_refused_before_anything_is_trained(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^students\.student\..*a neighbours is nothing without a teacher's weights"):
        checked(EASE, LISTS | changed)


def test_lists_teach_nobody() -> None:
    teacher = {"lists": {key: LISTS[key] for key in ("model", "training")}}
    with pytest.raises(ConfigError, match=r"^teachers\.lists\.model\.kind: a neighbours starts from a teacher"):
        checked(EASE | teacher, LISTS)
