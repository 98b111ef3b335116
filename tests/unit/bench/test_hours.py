"""Hours of a processor are counted once, however many records tell of them."""

from typing import Any

import pytest

from bench.hours import line, spent


def of(peer: str, seed: int, **more: Any) -> dict[str, Any]:
    return {"set": "m5", "peer": peer, "seed": seed, "predict_seconds": 1.0, **more}


PEERS = [of("lightgbm", seed, train_seconds=100.0, fit_seconds=10.0) for seed in (1, 0, 2)]
TAUGHT = {"teach@mlp": 50.0}
OURS = [
    of("teacher", 0, train_seconds=50.0, seconds=TAUGHT),
    of("twin", 0, train_seconds=7.0, seconds={"distil@twin": 7.0}),
    of("released", 0, train_seconds=60.0, seconds={**TAUGHT, "distil@student": 10.0}),
]


def test_settings_are_tuned_once_and_a_stage_of_a_seed_runs_once() -> None:
    assert spent(PEERS) == 3 + 100 + 10 + 10
    assert spent(OURS) == 3 + 50 + 7 + 10
    assert spent([*OURS, of("twin", 1, train_seconds=7.0, seconds={"distil@twin": 7.0})]) == 70 + 8


@pytest.mark.parametrize(("minutes", "said"), [(0, "m5 0.05; together 0.1"), (57, "m5 1.00; together 1.0")])
def test_what_was_stopped_took_its_time_too(minutes: int, said: str) -> None:
    stopped = [{"set": "m5", "peer": "tide", "seed": 0, "stopped_after_minutes": minutes}]
    assert said in line([of("theta", 0, train_seconds=179.0)], stopped)
