"""TabM: members that share their weights, learn for themselves and answer together."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tasks.core.config import Spec
from tasks.distillation.objective import Objective
from tasks.distillation.options import Training
from tasks.distillation.trainer import TrainingData, predict, train
from tasks.problems.models import build_model
from tasks.problems.tabular.models.tabm import Adapted
from tests.unit.problems.tabular.labelled.homes import CLASSES, VALUE, YES_NO, dataset, problem

SMALL = Spec(kind="tabm", members=4, hidden=[16], bins=8)


def test_a_member_scales_inputs_and_outputs_of_the_shared_weight() -> None:
    layer = Adapted(2, 1, 2, first=True)
    assert set(layer.before.flatten().tolist()) <= {-1.0, 1.0}
    with torch.no_grad():
        layer.shared.weight.copy_(torch.tensor([[1.0, 10.0]]))
        layer.before.copy_(torch.tensor([[[1.0, 1.0]], [[2.0, -1.0]]]))
        layer.after.copy_(torch.tensor([[[1.0]], [[0.5]]]))
        layer.bias.copy_(torch.tensor([[[0.0]], [[3.0]]]))
        found = layer(torch.tensor([[[1.0, 2.0]]]))
    assert found.tolist() == [[[21.0]], [[-6.0]]], "1 + 20; half of 2 - 20, and 3"


@pytest.mark.parametrize("options", [VALUE, CLASSES])
def test_members_answer_for_themselves_in_training_and_by_their_mean_after(options: dict[str, Any]) -> None:
    rows = dataset(options)
    model = build_model(Spec(kind="tabm", members=4, hidden=[8], dropout=0.0), rows.contract)
    inputs = [torch.from_numpy(values) for values in rows.inputs(rows.splits["valid"]).values()]
    with torch.no_grad():
        each, together = model.train()(*inputs), model.eval()(*inputs)
    assert each.shape == (len(together), 4, rows.contract.output_shape[0]) and each.std(dim=1).max() > 0
    mean = each.mean(dim=1) if options is VALUE else each.softmax(dim=2).mean(dim=1).log()
    torch.testing.assert_close(together, mean, rtol=1e-4, atol=1e-4)


class Three(nn.Module):
    """Answers of 0, 1 and 3 for each row; a row of target 1 has a squared loss of (1 + 0 + 4) / 3."""

    def forward(self, numeric: Tensor, *_: Tensor) -> Tensor:
        return torch.tensor([[0.0], [1.0], [3.0]]).expand(len(numeric), 3, 1)


def test_the_loss_of_a_row_is_the_mean_over_its_answers() -> None:
    rows = dataset()

    def squared(output: Tensor, target: Tensor) -> Tensor:
        return (output[:, 0] - target / target) ** 2

    loss = Objective(rows, squared).loss(
        Three(), rows.splits["train"][:7], 0.0, np.random.default_rng(0), torch.device("cpu")
    )
    assert loss.item() == pytest.approx(5 / 3)


@pytest.mark.parametrize("options", [VALUE, YES_NO])
def test_it_learns(options: dict[str, Any]) -> None:
    built, rows = problem(options), dataset(options)
    torch.manual_seed(0)
    model = build_model(SMALL, rows.contract)
    train(
        model,
        TrainingData(
            rows, rows.splits["train"], rows.splits["valid"], lambda output, target: built.score(output, target).error
        ),
        Objective(rows, built.hard_loss(rows.contract)),
        Training(epochs=15, batch_size=32, learning_rate=0.01),
        seed=0,
    )
    test = rows.splits["test"]
    error = built.score(predict(model, rows, test), rows.target(test)).error
    assert error < 0.7 * built.score(built.naive(rows, test), rows.target(test)).error
