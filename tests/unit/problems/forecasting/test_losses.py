"""Hard and soft losses of forecasts and their gradients, worked out by hand."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tasks.core.errors import ConfigError
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.losses import bin_probabilities, hard_loss
from tasks.problems.forecasting.series import TERMS
from tasks.problems.forecasting.soft import SOFT

LEVELS = (0.1, 0.5, 0.9)
WIDE: dict[str, Any] = {"soft-labels": {"reach": 10.0}}
"""Options by which the values of these tests lie on the grid."""


def contract(
    levels: tuple[float, ...] = LEVELS, scale: float = 1.0, horizon: int = 1, **options: bool | str
) -> FeatureContract:
    channels = len(levels) + bool(options.get("mean"))
    settings = {"options": {"quantiles": list(levels), **options}}
    return FeatureContract("forecasting", {}, (horizon, channels), statistics={"mean_units": scale}, settings=settings)


def soft(
    kind: str,
    output: Tensor,
    teacher: Tensor,
    target: Tensor | None = None,
    scale: float = 1.0,
    metric: str = "wape",
    **options: Any,
) -> Tensor:
    """The loss by row. Three channels are quantiles, a fourth the mean; one alone: the median, under mse the mean."""
    levels = LEVELS if output.shape[2] > 2 else (0.5,)
    under = contract(levels, scale, output.shape[1], mean=output.shape[2] in (2, 4), metric=metric)
    target = torch.zeros(output.shape[:2]) if target is None else target
    return {**SOFT, **TERMS}[kind](**options).bind(under)(output, teacher, target)


def gradient(loss: Tensor, output: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), output)[0]


def test_pinball_weighs_what_lies_above_and_below_by_the_level() -> None:
    output = torch.tensor([[[4.0, 8.0, 16.0], [4.0, 8.0, 16.0]]])
    # First day 0.1 x 6, 0.5 x 2, 0.1 x 6; second 0.9 x 2, 0.5 x 6, 0.1 x 14. Twice their mean, over the scale of 4.
    loss = hard_loss(contract(scale=4.0, horizon=2))(output, torch.tensor([[10.0, 2.0]]))
    assert loss.item() == pytest.approx(2 * (2.2 + 6.2) / 6 / 4)


def test_pinball_at_the_median_is_the_absolute_error_over_the_scale_row_by_row() -> None:
    output, target = torch.tensor([[[3.0]], [[10.0]]]), torch.tensor([[5.0], [6.0]])
    assert hard_loss(contract((0.5,), 2.0))(output, target).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("options", [{}, {"mean": True}, {"metric": "mse"}])
def test_what_was_not_observed_neither_counts_nor_pulls(options: dict[str, Any]) -> None:
    levels = (0.5,) if "metric" in options else LEVELS
    loss = hard_loss(contract(levels, 4.0, horizon=2, **options))
    output = torch.tensor([[[4.0, 8.0, 16.0, 9.0][: len(levels) + ("mean" in options)]] * 2], requires_grad=True)
    known, gap = torch.tensor([[10.0, 2.0]]), torch.tensor([[10.0, torch.nan]])
    pull = gradient(loss(output, gap), output)
    assert (pull[:, 1] == 0).all() and torch.equal(pull[:, 0], gradient(loss(output, known), output)[:, 0])
    at_truth = loss(torch.stack([output[:, 0], torch.full_like(output[:, 1], 2.0)], dim=1), known)
    if "mean" not in options:  # its level is that of both steps
        assert loss(output, gap).item() == pytest.approx(at_truth.item())
    assert torch.isnan(loss(output * torch.nan, known)).all(), "a broken network is not taken for a gap"


@pytest.mark.parametrize("kind", ["bounded", "residual"])
def test_soft_losses_that_read_the_truth_do_without_it_where_it_is_not_known(kind: str) -> None:
    output = torch.tensor([[[4.0, 8.0, 16.0]]], requires_grad=True)
    found = soft(kind, output, torch.tensor([[[5.0, 6.0, 7.0]]]), torch.tensor([[torch.nan]]))
    assert found.item() == 0 and (gradient(found, output) == 0).all()


def test_pinball_pulls_each_quantile_with_its_level() -> None:
    hard = hard_loss(contract())
    output = torch.zeros(1, 1, 3, requires_grad=True)
    pull = gradient(hard(output, torch.ones(1, 1)), output)
    assert pull[0, 0].tolist() == pytest.approx([-0.2 / 3, -1 / 3, -1.8 / 3])
    high = torch.full((1, 1, 3), 2.0, requires_grad=True)
    push = gradient(hard(high, torch.ones(1, 1)), high)
    assert push[0, 0].tolist() == pytest.approx([1.8 / 3, 1 / 3, 0.2 / 3])


def test_the_mean_of_signed_values_has_a_squared_error_under_the_overall_scale() -> None:
    hard = hard_loss(contract((0.5,), 2.0, 2, mean=True, positive=False))
    output = torch.tensor([[[1.0, 4.0], [1.0, -2.0]]])
    # Median: (|3 - 1| + |1 - 1|) / 2 / 2. Mean: ((3 - 4)^2 + (1 + 2)^2) / 2 / 2^2.
    assert hard(output, torch.tensor([[3.0, 1.0]])).item() == pytest.approx(0.5 + 5 / 4)


def test_the_mean_of_amounts_has_a_squared_error_under_the_rows_own_level() -> None:
    hard = hard_loss(contract((0.5,), 2.0, 2, mean=True))
    output = torch.tensor([[[1.0, 4.0], [1.0, 2.0]]], requires_grad=True)
    loss = hard(output, torch.tensor([[3.0, 1.0]]))
    # The level: a mean of 3 and a tenth of 2. Mean: ((3 - 4)^2 + (1 - 2)^2) / 2 / (2 x 3.2).
    assert loss.item() == pytest.approx(0.5 + 1 / 6.4)
    # The level has no gradient: d/df (y - f)^2 / 2 / 6.4 = (f - y) / 6.4.
    assert gradient(loss, output)[0, :, 1].tolist() == pytest.approx([1 / 6.4, 1 / 6.4])


def test_under_a_squared_metric_the_one_output_has_its_squared_error_over_the_squared_scale() -> None:
    hard = hard_loss(contract((0.5,), 2.0, 2, metric="mse"))
    output = torch.tensor([[[4.0], [2.0]], [[3.0], [1.0]]], requires_grad=True)
    loss = hard(output, torch.tensor([[3.0, 5.0], [3.0, 1.0]]))
    # Squares of 3 - 4 and 5 - 2, their mean, over 2^2.
    assert loss.tolist() == [1.25, 0.0]
    # d/df (y - f)^2 / 2 / 4 = (f - y) / 4.
    assert gradient(loss, output)[0, :, 0].tolist() == [0.25, -0.75]


@pytest.mark.parametrize("positive", [True, False])
def test_under_a_squared_metric_the_best_constant_is_the_mean_and_else_the_median(positive: bool) -> None:
    target = torch.tensor([[0.0], [0.0], [1.0], [0.0], [9.0]])
    candidates = torch.arange(0, 10, 0.5)
    found = {}
    for metric in ("mse", "wape"):
        hard = hard_loss(contract((0.5,), 3.0, metric=metric, positive=positive))
        losses = torch.stack([hard(value.expand(5, 1, 1), target).mean() for value in candidates])
        found[metric] = candidates[losses.argmin()].item()
    assert found == {"mse": 2.0, "wape": 0.0}


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("absolute", {}, (1 + 3) / 2 / 2),
        ("squared", {}, (1 + 9) / 2 / 4),
        ("pinball", {}, (1 + 9) / 2 / 4),
        # Errors of the student (8 - 4)^2, (8 - 2)^2, of the teacher (8 - 3)^2, (8 - 5)^2: the first bounds nothing.
        ("bounded", {}, 36 / 2 / 4),
        # Labels 3 + 5 / 2 and 5 + 3 / 2.
        ("residual", {"keep": 0.5}, (1.5**2 + 4.5**2) / 2 / 4),
        # Runs of one step |1|, |3|, and of two |1 - 3| / 2.
        ("multi-scale", {"scales": (1, 2)}, (2 + 1) / 2 / 2),
    ],
)
def test_soft_losses_of_one_output_under_a_squared_metric(kind: str, options: dict[str, Any], expected: float) -> None:
    output, teacher = torch.tensor([[[4.0], [2.0]]]), torch.tensor([[[3.0], [5.0]]])
    loss = soft(kind, output, teacher, torch.full((1, 2), 8.0), scale=2.0, metric="mse", **options)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", [*SOFT, *TERMS])
def test_every_loss_of_one_output_under_a_squared_metric_pulls_the_student_to_the_teacher(kind: str) -> None:
    days = torch.arange(8.0)
    teacher = (5 + torch.sin(days)).reshape(1, 8, 1).repeat(2, 1, 1)
    output = teacher.clone()
    output[0, ::2] += 2
    output.requires_grad_()
    loss = soft(kind, output, teacher, teacher[:, :, 0], metric="mse", **WIDE.get(kind, {}))
    assert loss.shape == (2,) and loss[0] > 0.01 and abs(loss[1]) < 1e-5
    pull = gradient(loss, output)
    assert (pull * (output - teacher)).sum() > 0 and pull[1].abs().max() < 1e-5


def test_absolute_compares_level_by_level() -> None:
    output = torch.tensor([[[1.0, 2.0, 6.0]]], requires_grad=True)
    loss = soft("absolute", output, torch.tensor([[[2.0, 2.5, 3.0]]]), scale=5.0)
    assert loss.item() == pytest.approx((1 + 0.5 + 3) / 3 / 5)
    assert gradient(loss, output)[0, 0].tolist() == pytest.approx([-1 / 15, -1 / 15, 1 / 15])


def test_squared_compares_level_by_level() -> None:
    loss = soft("squared", torch.tensor([[[1.0, 2.0, 6.0]]]), torch.tensor([[[2.0, 2.0, 3.0]]]), scale=2.0)
    assert loss.item() == pytest.approx((0.25 + 0 + 2.25) / 3)


def test_pinball_to_the_teacher_costs_more_on_the_inner_side() -> None:
    teacher = torch.tensor([[[2.0, 5.0, 9.0]]])
    # One above the 10 % quantile costs 2 x 0.9, one below it 2 x 0.1; means over three levels.
    assert soft("pinball", teacher + torch.tensor([1.0, 0, 0]), teacher).item() == pytest.approx(1.8 / 3)
    assert soft("pinball", teacher - torch.tensor([1.0, 0, 0]), teacher).item() == pytest.approx(0.2 / 3)


@pytest.mark.parametrize(("margin", "expected"), [(0.0, [0, 0, 2]), (0.5, [1, 0, 2])])
def test_bounded_counts_errors_that_are_above_the_teachers(margin: float, expected: list[float]) -> None:
    """Errors of the student 1, 0, 2; of the teacher 1, 3, 1; truth 10."""
    output, teacher = torch.tensor([[[9.0]], [[10.0]], [[12.0]]]), torch.tensor([[[11.0]], [[13.0]], [[9.0]]])
    loss = soft("bounded", output, teacher, torch.full((3, 1), 10.0), margin=margin)
    assert loss.tolist() == expected


@pytest.mark.parametrize(("keep", "label"), [(0.0, 4.0), (0.25, 5.5)])
def test_residual_labels_hold_a_share_of_what_the_teacher_missed(keep: float, label: float) -> None:
    output = torch.tensor([[[7.0]]])
    loss = soft("residual", output, torch.tensor([[[4.0]]]), torch.tensor([[10.0]]), keep=keep)
    assert loss.item() == pytest.approx(7 - label)


def test_bins_of_a_distribution_that_is_given_by_quartiles() -> None:
    # A quarter in each of 0-1, 1-2, 2-4, 4-8, spread evenly within.
    values, ends = torch.tensor([[1.0, 2.0, 4.0]]), (torch.tensor([[0.0]]), torch.tensor([[8.0]]))
    edges = torch.arange(9.0).unsqueeze(0)
    share = bin_probabilities(values, *ends, (0.25, 0.5, 0.75), edges)
    assert share[0].tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 16, 1 / 16, 1 / 16, 1 / 16])


def test_quantiles_that_fall_together_are_a_step_of_one_bin() -> None:
    values = torch.full((1, 3), 4.0, requires_grad=True)
    edges = torch.arange(9.0).unsqueeze(0)
    share = bin_probabilities(values, torch.tensor([[0.0]]), torch.tensor([[8.0]]), LEVELS, edges)
    assert share[0].tolist() == pytest.approx([0.025] * 4 + [0.825] + [0.025] * 3, abs=1e-6)
    assert torch.isfinite(gradient(share[:, 4], values)).all()


def test_distribution_is_the_divergence_of_the_bins() -> None:
    """Medians 2 and 6: the grid spans 0 to 8, its bins of 2 hold 1/2, 1/6, 1/6, 1/6 of the teacher; mirrored."""
    teacher, output = torch.tensor([[[2.0]]]), torch.tensor([[[6.0]]])
    expected = (1 / 2 - 1 / 6) * math.log((1 / 2) / (1 / 6))
    assert soft("distribution", output, teacher, bins=4).item() == pytest.approx(expected, rel=1e-4)


def test_distribution_pulls_the_nearest_quantile_to_the_teacher_even_from_far_away() -> None:
    teacher = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert soft("distribution", teacher.clone(), teacher).item() == pytest.approx(0, abs=1e-6)
    far = torch.tensor([[[101.0, 102.0, 103.0]]], requires_grad=True)
    assert gradient(soft("distribution", far, teacher), far)[0, 0, 0] > 0
    below = torch.tensor([[[-101.0, -100.0, -99.0]]], requires_grad=True)
    assert gradient(soft("distribution", below, teacher), below)[0, 0, 2] < 0


def test_gaussian_is_the_divergence_of_the_normal_distributions_that_quantiles_imply() -> None:
    wide = 1.2815515655446004  # of 90 %
    teacher = torch.tensor([[[-wide, 0.0, wide]]])
    output = torch.tensor([[[3 - 2 * wide, 3.0, 3 + 2 * wide]]], requires_grad=True)
    found = soft("gaussian", output, teacher)
    # Deviations 1 and 2, medians 3 apart; 0.0001 are added to each variance.
    assert found.item() == pytest.approx(math.log(2) + (1 + 9) / 8 - 0.5, rel=1e-3)
    assert gradient(found, output)[0, 0, 1].item() == pytest.approx(3 / 4, rel=1e-3)


def test_soft_labels_are_the_cross_entropy_of_the_bins_less_its_least_value() -> None:
    """Four bins of 1 from 0 to 4, the outer ones open; a single output has a logistic distribution of scale 1/4."""
    teacher, output = torch.tensor([[[2.0]]]), torch.tensor([[[1.0]]], requires_grad=True)

    def chances(median: float) -> list[float]:
        below = [0.0, *(1 / (1 + math.exp(-4 * (edge - median))) for edge in (1, 2, 3)), 1.0]
        return [after - before for before, after in pairwise(below)]

    found = soft("soft-labels", output, teacher, bins=4)
    expected = sum(p * math.log(p / q) for p, q in zip(chances(2), chances(1), strict=True))
    assert found.item() == pytest.approx(expected, rel=1e-4) and gradient(found, output).item() < 0
    beyond = torch.tensor([[[99.0]]], requires_grad=True)
    pull = gradient(soft("soft-labels", beyond, teacher, bins=4), beyond).item()
    assert pull > 0, "what is far beyond the grid comes back"


@pytest.mark.parametrize("kind", SOFT)
def test_a_student_that_agrees_with_a_right_teacher_has_no_loss_and_else_is_pulled_to_it(kind: str) -> None:
    teacher = torch.tensor([[[5.0, 5.0, 5.0, 5.0]]]).repeat(2, 3, 1)
    target = torch.full((2, 3), 5.0)
    output = teacher.clone()
    options = WIDE.get(kind, {})
    assert soft(kind, output, teacher, target, **options).tolist() == pytest.approx([0, 0], abs=1e-5)
    output[0] += 1
    output.requires_grad_()
    loss = soft(kind, output, teacher, target, **options)
    assert loss[0] > 0.01 and abs(loss[1]) < 1e-5
    pull = gradient(loss, output)[0].sum(dim=0)
    if kind in ("gaussian", "soft-labels"):  # the median moves; the outermost ones tell how wide it is
        pull = pull[1::2]
    assert (pull > 0).all(), "each channel, the mean among them"


def test_multi_scale_pools_runs_of_days() -> None:
    teacher = torch.zeros(1, 5, 1)
    output = torch.tensor([1.0, -1.0, 2.0, 2.0, 9.0]).reshape(1, 5, 1)
    # Days: 15 / 5. Pairs: |0|, |2|, the fifth day left over. Fours: |1|.
    loss = soft("multi-scale", output, teacher, scales=(1, 2, 4), scale=2.0)
    assert loss.item() == pytest.approx((3 + 1 + 1) / 3 / 2)


def test_multi_scale_is_refused_beyond_the_horizon() -> None:
    with pytest.raises(ConfigError, match="scales: expected 1 to the horizon, 5"):
        soft("multi-scale", torch.zeros(1, 5, 1), torch.zeros(1, 5, 1), scales=(8,))
    with pytest.raises(ConfigError, match="a horizon of 3 has no two periods"):
        soft("frequency", torch.zeros(1, 3, 1), torch.zeros(1, 3, 1))


def waves(*amplitudes: float) -> Tensor:
    """A path of 8 days; `amplitudes` of the periods 8, 4, 2.67, 2 as |rFFT| has them."""
    days = torch.arange(8) * 2 * math.pi / 8
    factors = (4, 4, 4, 8)
    parts = [
        value / factor * torch.cos(days * (place + 1))
        for place, (value, factor) in enumerate(zip(amplitudes, factors, strict=True))
    ]
    return torch.stack(parts).sum(dim=0).reshape(1, 8, 1)


def test_frequency_compares_the_distribution_of_amplitudes() -> None:
    teacher, output = waves(8, 0, 0, 0), waves(0, 8, 0, 0)
    # The teacher's mean amplitude is 2, so amplitudes are (4, 0, 0, 0), at temperature 4 (1, 0, 0, 0).
    high, low = math.e / (math.e + 3), 1 / (math.e + 3)
    expected = (high - low) * 1.0
    assert soft("frequency", output, teacher, scale=1e-9, temperature=4.0).item() == pytest.approx(expected, rel=1e-4)


def test_frequency_leaves_flat_paths_alone() -> None:
    """A low quantile is often zero on all days: the student's ripple there must not count like a wave."""
    teacher, output = torch.cat([waves(8, 0, 0, 0), 0 * waves(1, 0, 0, 0)], dim=2), torch.zeros(1, 8, 2)
    output[:] = teacher
    output[:, :, 1:] += waves(0, 0.01, 0, 0)
    assert soft("frequency", output, teacher).item() < 1e-4
    flat = torch.zeros(1, 8, 1)
    assert soft("frequency", waves(0, 0.01, 0, 0), flat).item() == pytest.approx(0.5 * 3 / 16 * 0.2**2, rel=0.05)


def test_frequency_does_not_see_level_and_phase() -> None:
    teacher = waves(8, 2, 1, 0)
    assert soft("frequency", teacher.roll(3, dims=1) + 50, teacher).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bounded", {"margin": -1}),
        ("residual", {"keep": 1.0}),
        ("distribution", {"bins": 2}),
        ("multi-scale", {"scales": ()}),
        ("frequency", {"temperature": 0}),
        ("absolute", {"temperature": 2}),
    ],
)
def test_bad_options_are_refused(kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        {**SOFT, **TERMS}[kind](**options)
