"""Which inputs a model takes."""

import torch
from torch import nn

from tasks.distillation.teacher import Mean
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.forecasting.models.inputs import ALL_INPUTS, STUDENT_INPUTS
from tests.unit.problems.forecasting.models.windows import CONTRACT, model_of


class Some(nn.Module):
    uses = ("static", "units")


def test_a_model_says_what_it_takes_or_takes_all_in_the_contracts_order() -> None:
    assert inputs_of(Some(), CONTRACT.inputs) == ("static", "units")
    assert inputs_of(nn.Identity(), CONTRACT.inputs) == ALL_INPUTS == tuple(CONTRACT.inputs)
    assert inputs_of(nn.Identity(), {"x": torch.zeros(1)}) == ("x",)


def test_a_mean_takes_what_its_members_take() -> None:
    assert inputs_of(Mean([model_of("linear"), model_of("linear")]), CONTRACT.inputs) == STUDENT_INPUTS
    assert inputs_of(Mean([model_of("lstm")]), CONTRACT.inputs) == ALL_INPUTS
    assert inputs_of(Mean([nn.Identity()]), {"x": torch.zeros(1)}) == ("x",)
