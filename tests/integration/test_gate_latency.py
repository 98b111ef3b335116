"""The latency gate's verdict on a machine that is not idle, on models whose true ratio is known."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.compression.timing import Latency, measure, measure_against
from tasks.gates.latency import latency_gates
from tasks.gates.options import LatencyGate

WIDTH, PRODUCTS = 128, 40
INPUTS = {"x": np.ones((1, WIDTH), np.float32)}
TRIALS, ROUNDS = 20, 20


def chain(products: int) -> bytes:
    """x (n, WIDTH) through as many products of WIDTH x WIDTH, with weights of their own."""
    names = ["x", *(f"y{place}" for place in range(1, products)), "output"]
    nodes = [
        helper.make_node("MatMul", [before, f"w{place}"], [after])
        for place, (before, after) in enumerate(pairwise(names))
    ]
    shape: list[str | int | None] = ["batch", WIDTH]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32), f"w{place}") for place in range(products)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="module")
def candidate() -> bytes:
    return chain(PRODUCTS)


@pytest.fixture(scope="module")
def truth(candidate: bytes) -> Latency:
    """A long measurement without the load that this module adds."""
    return measure(candidate, INPUTS, batch=1, threads=1, rounds=200)


@pytest.fixture
def busy() -> Iterator[None]:
    """All cores but one have a process that does nothing but count."""
    code = "while True: pass"
    cores = len(os.sched_getaffinity(0))
    spinning = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(max(1, cores - 1))]
    yield
    for process in spinning:
        process.kill()
        process.wait()


def rule(truth: Latency, factor: float) -> LatencyGate:
    """Limits that the true ratios are `factor` times of."""
    return LatencyGate(rounds=ROUNDS, max_p50_ratio=truth.ratio_p50 / factor, max_p95_ratio=truth.ratio_p95 / factor)


def verdict(model: bytes, gate: LatencyGate) -> bool:
    limits = gate.max_p50_ratio, gate.max_p95_ratio
    found = measure_against(model, INPUTS, limits, batch=1, threads=1, rounds=gate.rounds)
    return all(result.passed for result in latency_gates("c", found, gate))


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(("factor", "passed"), [(1.3, False), (0.7, True)])
def test_beside_a_busy_core_20_of_20_verdicts_are_right(
    candidate: bytes, truth: Latency, factor: float, passed: bool
) -> None:
    gate = rule(truth, factor)
    assert [verdict(candidate, gate) for _ in range(TRIALS)] == [passed] * TRIALS


def test_rounds_go_on_only_as_long_as_the_verdict_is_open_and_end(candidate: bytes) -> None:
    def rounds(limit: float) -> int:
        return measure_against(candidate, INPUTS, (limit, 1e6), batch=1, threads=1, rounds=10).rounds

    assert rounds(1e6) == 10
    assert rounds(1e-6) == 10
    assert rounds(float("nan")) == 100, "no number of rounds shows that an unknown limit is kept"


def test_the_thread_may_run_on_all_its_cores_again_afterwards(candidate: bytes) -> None:
    before = os.sched_getaffinity(0)
    measure(candidate, INPUTS, batch=1, threads=1, rounds=3)
    assert os.sched_getaffinity(0) == before
    with pytest.raises(Exception, match="No graph"):
        measure(b"\x08\x09", INPUTS, batch=1, threads=1, rounds=3)
    assert os.sched_getaffinity(0) == before
