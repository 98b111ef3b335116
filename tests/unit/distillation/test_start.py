"""First weights of a student from a larger network."""

import pytest
import torch
from torch import nn

from tasks.core.errors import ConfigError
from tasks.distillation.start import start_from
from tasks.problems.blocks.weights import save_weights


class Net(nn.Module):
    def __init__(self, width: int, first: str = "hidden") -> None:
        super().__init__()
        self.add_module(first, nn.Linear(2, width))
        self.out = nn.Linear(width, 1)


def numbered(width: int, first: str = "hidden") -> Net:
    """Neuron k has weights (k, k), bias k and weight k in the next layer."""
    net = Net(width, first)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            places = torch.arange(width, dtype=torch.float32)
            value = {f"{first}.weight": places[:, None].expand(width, 2), f"{first}.bias": places, "out.weight": places}
            parameter.copy_(value[name].reshape(parameter.shape) if name in value else torch.tensor([7.0]))
    return net


def test_equal_sizes_are_copied() -> None:
    student = Net(4)
    assert start_from(student, save_weights(numbered(4)), {}) == [
        "hidden.weight",
        "hidden.bias",
        "out.weight",
        "out.bias",
    ]
    assert save_weights(student) == save_weights(numbered(4))


def test_a_smaller_layer_takes_whole_neurons_evenly() -> None:
    student: nn.Module = Net(3)
    start_from(student, save_weights(numbered(8)), {})
    kept = [0.0, 2.0, 5.0]  # floor(i 8 / 3)
    assert student.get_parameter("hidden.bias").tolist() == kept
    assert student.get_parameter("hidden.weight").tolist() == [[value] * 2 for value in kept]
    assert student.get_parameter("out.weight").tolist() == [kept]
    assert student.get_parameter("out.bias").tolist() == [7.0]


def test_layers_of_other_names_are_named() -> None:
    student: nn.Module = Net(2, "inner")
    before = student.get_parameter("out.weight").clone()
    assert start_from(student, save_weights(numbered(4)), {"inner": "hidden"}) == ["inner.weight", "inner.bias"]
    assert student.get_parameter("inner.bias").tolist() == [0.0, 2.0]
    assert torch.equal(student.get_parameter("out.weight"), before), "not named, not touched"


@pytest.mark.parametrize(
    ("student", "layers", "message"),
    [
        (
            Net(9),
            {"hidden": "hidden"},
            r"student below 'hidden' fits .*hidden\.weight \(9, 2\).* the teacher hidden\.bias \(8,\)",
        ),
        (Net(4), {"hid": "hidden"}, "student below 'hid' fits"),
        (Net(4), {"hidden": "absent"}, "student below 'hidden' fits"),
        (nn.Linear(2, 2), {}, "student fits"),
    ],
)
def test_what_does_not_fit_is_refused(student: nn.Module, layers: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"start_from: no parameter of the {message}"):
        start_from(student, save_weights(numbered(8)), layers)


def test_a_simple_recurrent_network_starts_as_a_gate_of_an_lstm() -> None:
    """The cell gate is the third of four; of two channels a step, the student reads the first."""
    torch.manual_seed(0)
    teacher, student = nn.LSTM(6, 4), nn.RNN(3, 2)
    start_from(student, save_weights(teacher), {}, "cell")
    cells = slice(2 * 4, 3 * 4)
    assert torch.equal(student.get_parameter("weight_ih_l0"), teacher.get_parameter("weight_ih_l0")[cells][::2, ::2])
    assert torch.equal(student.get_parameter("weight_hh_l0"), teacher.get_parameter("weight_hh_l0")[cells][::2, ::2])
    assert torch.equal(student.get_parameter("bias_ih_l0"), teacher.get_parameter("bias_ih_l0")[cells][::2])


def test_what_has_no_gates_is_refused() -> None:
    for teacher in (nn.RNN(3, 3), nn.RNN(3, 4), nn.GRU(3, 4)):
        with pytest.raises(ConfigError, match=r"start_from\.gate: \w+ \(.*\) of the teacher has no 4 gates of an LSTM"):
            start_from(nn.RNN(3, 2), save_weights(teacher), {}, "cell")
