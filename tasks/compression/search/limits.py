"""Limits bound a candidate's measurements: how far it is over each, and which of them stand in the way of all."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.compression.options import Limits

Quantity = Literal["error", "bytes", "parameters", "latency_ratio", "parity"]


@dataclass(frozen=True)
class Measured:
    """Measured holds measurements of a candidate's bytes. `error` on the validation split; `latency_ratio` at p50."""

    error: float
    bytes: int
    parameters: int
    parity: float
    latency_ratio: float


@dataclass(frozen=True)
class Bound:
    """A Bound is one limit: `quantity` is at most `most`. `trained`: fine-tuning can still change the quantity."""

    name: str
    quantity: Quantity
    most: float

    @property
    def trained(self) -> bool:
        return self.quantity in ("error", "parity")

    @property
    def timed(self) -> bool:
        """Return whether it compares a clock's number, which differs from run to run."""
        return self.quantity == "latency_ratio"

    def excess(self, measured: Measured) -> float:
        """Return the relative distance to the limit, value / most - 1: positive if over it, infinite if not finite."""
        value = float(getattr(measured, self.quantity))
        return value / self.most - 1 if math.isfinite(value) else math.inf


def bounds(limits: Limits, student: Measured) -> tuple[Bound, ...]:
    """Return the stated limits, with `retention` as an error. `student`: before compression."""
    retained = None if limits.retention is None else limits.retention * student.error
    stated: tuple[tuple[str, Quantity, float | None], ...] = (
        ("error", "error", limits.error),
        ("retention", "error", retained),
        ("bytes", "bytes", limits.bytes),
        ("parameters", "parameters", limits.parameters),
        ("latency_ratio", "latency_ratio", limits.latency_ratio),
        ("parity", "parity", limits.parity),
    )
    return tuple(Bound(name, quantity, most) for name, quantity, most in stated if most is not None)


def violation(limits: Iterable[Bound], measured: Measured) -> float:
    """Return the sum of all excesses over the limits, relatively; 0 within all of them."""
    return sum(max(0.0, bound.excess(measured)) for bound in limits)


@dataclass(frozen=True)
class Binding:
    """A Binding limit is in the way. `nearest`: the value it must allow; `alone`: relaxing it alone is enough."""

    bound: Bound
    nearest: float
    alone: bool

    def __str__(self) -> str:
        limit = f"{self.bound.name} (limit {self.bound.most:,.6g}"
        return limit + (")" if self.bound.timed else f", nearest {self.nearest:,.6g})")


def binding(limits: Sequence[Bound], measured: Sequence[Measured]) -> tuple[Binding, ...]:
    """Say why nothing of `measured` is within all limits.

    The limits that would make something feasible if relaxed alone. If there are none: those that everything violates.
    If there are none of these either: those that the nearest to feasibility violates.
    """
    over = [{bound for bound in limits if bound.excess(item) > 0} for item in measured]

    def nearest(bound: Bound, among: Iterable[Measured]) -> float:
        values = (float(getattr(item, bound.quantity)) for item in among)
        return min((value for value in values if math.isfinite(value)), default=math.inf)

    def alone(bound: Bound) -> list[Measured]:
        return [item for item, found in zip(measured, over, strict=True) if found == {bound}]

    single = tuple(Binding(bound, nearest(bound, found), alone=True) for bound in limits if (found := alone(bound)))
    if single or not measured:
        return single
    common = set.intersection(*over) or min(over, key=len)
    return tuple(Binding(bound, nearest(bound, measured), alone=False) for bound in limits if bound in common)
