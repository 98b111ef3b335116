"""This module defines the `gates` section of a workload."""

from typing import Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen, Spec


class AccuracyGate(Frozen):
    """AccuracyGate limits the error.

    `limit`: absolute error; `naive_margin` and `retention` are ratios; `champion_margin` is relative.

    `max_gain`: the share of the error of the better of naive baseline and champion that a candidate can honestly save;
    one that saves more has probably seen the future. 1 allows all.
    """

    limit: float = Field(gt=0)
    naive_margin: float = Field(ge=0, lt=1, description="error must be <= (1 - naive_margin) * naive error")
    retention: float = Field(gt=0, description="error must be <= teacher error * retention")
    champion_margin: float = Field(ge=0, description="upper bound of the relative difference to the champion")
    max_gain: float = Field(default=0.8, gt=0, le=1, description="error must be >= (1 - max_gain) * the better error")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=1000, ge=100)


class SegmentGate(Frozen):
    """No segment of `by` with at least `min_rows` rows may be worse than the champion by more than `limit`."""

    by: tuple[str, ...]
    limit: float = Field(ge=0)
    min_rows: int = Field(default=50, gt=0)


class SizeGate(Frozen):
    """SizeGate limits the bytes of the released ONNX file."""

    max_bytes: int = Field(gt=0)


class LatencyGate(Frozen):
    """LatencyGate limits the ratios of the candidate's latency to the reference model's, interleaved, at `batch` rows.

    `rounds` are measured at least, up to ten times as many while noise leaves it open whether a limit is kept.
    """

    batch: int = Field(default=1, gt=0)
    threads: int = Field(default=1, gt=0)
    rounds: int = Field(default=30, ge=10)
    max_p50_ratio: float = Field(gt=0)
    max_p95_ratio: float = Field(gt=0)


class ParityGate(Frozen):
    """ParityGate limits the mean absolute difference of ONNX and torch outputs, relative to the mean torch output.

    `overlap`: so large a share of what the torch model names, the ONNX file must name, too; None: nothing is asked.
    """

    tolerance: float = Field(gt=0)
    overlap: float | None = Field(default=None, gt=0, le=1, exclude_if=lambda share: share is None)


class Corruption(Frozen):
    """A Corruption declares a disturbance of the evaluation inputs. `limit`: allowed ratio to the clean error."""

    kind: str
    level: float
    limit: float = Field(gt=0)


class DriftGate(Frozen):
    """`max_psi` limits an input's population stability index against the champion's snapshot; None gates nothing."""

    max_psi: float | None = Field(default=None, gt=0)


class DiversityGate(Frozen):
    """`metric` may not fall below `share` of the champion's, nor below `least`: who says little can be right, too."""

    metric: str = "coverage"
    share: float = Field(default=0.8, gt=0, le=1)
    least: float = Field(default=0, ge=0)


class CalibrationGate(Frozen):
    """Limits of how far outputs can be believed; those that are left out do not bind, but one has to be there.

    `coverage`: the least and the greatest share of the truth between the outermost quantiles. `pinball`: the mean loss
    of quantiles, over the mean of |y|, is at most this. `calibration_error`: the expected one of classes' chances.
    """

    coverage: tuple[float, float] | None = None
    pinball: float | None = Field(default=None, gt=0)
    calibration_error: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if not self.metrics:
            raise ValueError("name a limit: coverage, pinball or calibration_error")
        if self.coverage and not 0 <= self.coverage[0] < self.coverage[1] <= 1:
            raise ValueError("coverage: expected the least and the greatest share, between 0 and 1")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of the metrics that are limited."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)


class FloorGate(Frozen):
    """A `metric`, of which more is better, may not fall below `share` of the champion's, nor below `least`."""

    metric: str
    share: float = Field(default=0.8, gt=0, le=1)
    least: float = Field(default=0, ge=0)


class Gates(Frozen):
    """A candidate must pass all these rules. `further`: gates of other packages, beside the mandatory ones."""

    accuracy: AccuracyGate
    segments: SegmentGate
    size: SizeGate
    latency: LatencyGate
    parity: ParityGate
    robustness: tuple[Corruption, ...] = ()
    drift: DriftGate = DriftGate()
    diversity: DiversityGate | None = Field(default=None, description="None: nothing is asked")
    # Left out of files where it is the default: those of releases before it say the same.
    calibration: CalibrationGate | None = Field(
        default=None, exclude_if=lambda rule: rule is None, description="None: nothing is asked"
    )
    floors: tuple[FloorGate, ...] = Field(default=(), exclude_if=lambda rules: not rules)
    further: tuple[Spec, ...] = ()
    selection_tolerance: float = Field(
        default=0.005, ge=0, description="a smaller file may have this much more validation error than the best"
    )
