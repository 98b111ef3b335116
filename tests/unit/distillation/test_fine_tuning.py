"""Further training of a model that has learned something, and the same again on other rows."""

from typing import Any

import pytest

from tasks.core.config import Spec
from tasks.distillation.options import Training
from tasks.distillation.student import fine_tuning, fine_tuning_objective
from tasks.distillation.trainer import set_up
from tasks.problems.blocks.weights import save_weights
from tasks.problems.models import build_model
from tests.unit.distillation.test_student import MODEL, TRAINING, student


class Tuning:
    """Trainings of one model, one after the other."""

    def __init__(self, sales: Any, again: tuple[int, ...] = ()) -> None:
        dataset, problem = sales.dataset, sales.problem()
        training, twin = Training.model_validate(TRAINING), student(alpha=1.0)

        def objective() -> Any:
            return fine_tuning_objective(dataset, problem, twin, None)

        set_up(0, 1)
        self.model = build_model(Spec.model_validate(MODEL), dataset.contract)
        self.tune = fine_tuning(dataset, problem, training, objective, 1, again=again)

    def weights(self) -> bytes:
        return save_weights(self.model)


def test_it_says_after_how_many_epochs_the_kept_weights_were(sales: Any) -> None:
    tuning = Tuning(sales)
    assert tuning.tune(tuning.model, 2, 1.0, lambda _: None) in (1, 2)
    before = tuning.weights()
    assert tuning.tune(tuning.model, 1, 1e6) == 0, "nothing learns from such steps"
    assert tuning.weights() == before


@pytest.mark.parametrize("ends", [1, 2])
def test_again_it_ends_where_it_did(ends: int, sales: Any) -> None:
    tuning, steps = Tuning(sales, again=(0, ends)), list[Any]()
    before = tuning.weights()
    assert tuning.tune(tuning.model, 3, 1.0, steps.append) == 0
    assert tuning.weights() == before and not steps, "what was undone then is not done now"
    tuning.tune(tuning.model, 3, 1.0, steps.append)
    assert len(steps) == ends * -(-len(sales.dataset.splits["train"]) // int(TRAINING["batch_size"]))
