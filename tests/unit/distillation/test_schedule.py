"""How alpha moves."""

import pytest

from tasks.core.config import Spec, pick
from tasks.core.errors import ConfigError
from tasks.distillation.schedule import SCHEDULES


@pytest.mark.parametrize(
    ("kind", "expected"), [("linear", [0.2, 0.35, 0.5, 0.8]), ("cosine", [0.2, 0.2878680, 0.5, 0.8])]
)
def test_alpha_goes_from_its_start_to_its_end(kind: str, expected: list[float]) -> None:
    # A quarter of the way, half a cosine has left (1 + sqrt(1/2)) / 2 = 0.8535534 of it.
    schedule = pick(Spec.model_validate({"kind": kind, "from": 0.2}), SCHEDULES, "schedule")
    assert [schedule.alpha(0.8, done) for done in (0, 0.25, 0.5, 1)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "step", "from": 0.2}, r"schedule\.kind: unknown kind 'step'; there are: linear, cosine"),
        ({"kind": "linear", "from": 1.2}, r"schedule\.from of kind linear"),
        ({"kind": "linear"}, r"schedule\.from of kind linear: Field required"),
    ],
)
def test_bad_schedules_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pick(Spec.model_validate(options), SCHEDULES, "schedule")
