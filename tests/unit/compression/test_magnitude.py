"""Sparsity is exact and survives fine-tuning."""

from typing import Any

import pytest
import torch
from torch import nn

from tasks.compression.magnitude import Magnitude, mask, prunable_weights, scheduled, smallest
from tasks.compression.step import also


def zeros(model: nn.Module) -> int:
    return sum(int((weight == 0).sum()) for weight in prunable_weights(model).values())


@pytest.mark.parametrize(("sparsity", "count"), [(0.5, 856), (0.3, 514), (0.9, 1541)])
def test_sparsity_is_reached_exactly_and_kept_by_fine_tuning(
    network: Any, tuner: Any, calibration: Any, sparsity: float, count: int
) -> None:
    # 40 x 32 + 32 x 6 + 40 x 6 = 1712 weights
    before = network.hidden.bias.detach().clone()
    Magnitude(sparsity=sparsity, epochs=3).apply(network, tuner, calibration)
    assert zeros(network) == count
    assert tuner.calls == [(1, 0.3)] * 3
    assert not torch.equal(network.hidden.bias, before), "fine-tuning did not train"


def test_without_fine_tuning_the_smallest_go(network: Any, tuner: Any, calibration: Any) -> None:
    with torch.no_grad():
        network.skip.weight.fill_(1e-6)
    Magnitude(sparsity=240 / 1712, epochs=0).apply(network, tuner, calibration)
    assert zeros(network) == 240
    assert int(network.skip.weight.count_nonzero()) == 0
    assert tuner.calls == []


def test_pruning_is_global_and_ties_go_to_the_earlier_weight() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    model = nn.Sequential(first, second)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[3.0, -1.0], [1.0, 4.0]]))
        second.weight.copy_(torch.tensor([[1.0, -0.5]]))
    mask(model, smallest(model, 0.5))
    assert first.weight.tolist() == [[3.0, 0.0], [0.0, 4.0]]
    assert second.weight.tolist() == [[1.0, 0.0]]


def test_embeddings_and_biases_are_left_alone() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(3, 2), "linear": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
    assert list(prunable_weights(model)) == ["linear.weight"]


def test_schedule_is_cubic() -> None:
    assert [scheduled(0.8, step, 4) for step in (1, 2, 3, 4)] == pytest.approx([0.4625, 0.7, 0.7875, 0.8])


def test_what_is_pruned_stays_zero_in_later_fine_tuning(network: Any, tuner: Any, calibration: Any) -> None:
    restore = Magnitude(sparsity=0.5, epochs=1).apply(network, tuner, calibration)
    pruned = {name: weight == 0 for name, weight in prunable_weights(network).items()}
    seen: list[int] = []
    also(tuner, restore)(network, 2, 0.1, lambda model: seen.append(zeros(model)))
    assert zeros(network) == 856 and all(
        (weight == 0).equal(pruned[name]) for name, weight in prunable_weights(network).items()
    )
    assert len(seen) == 6 and max(seen) < 856, "without it training would bring weights back"
