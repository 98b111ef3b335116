"""Latency of files beside a reference model; only ratios within one measurement are asserted."""

from itertools import pairwise

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.compression.timing import machine, measure, measure_all, median_interval, straddles

INPUTS = {"x": np.ones((3, 64), np.float32)}


def chain(layers: int) -> bytes:
    """x (n, 64) through as many products of 64 x 64."""
    names = ["x", *(f"y{layer}" for layer in range(1, layers)), "output"]
    nodes = [helper.make_node("MatMul", [before, "w"], [after]) for before, after in pairwise(names)]
    shape: list[str | int | None] = ["batch", 64]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.eye(64, dtype=np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def test_models_are_measured_together_each_in_its_place() -> None:
    fast, slow, again = measure_all([chain(1), chain(120), chain(1)], INPUTS, batch=8, threads=1, rounds=7)
    assert slow.ratio_p50 > 10 * max(fast.ratio_p50, again.ratio_p50)
    assert slow.p50_us > 10 * fast.p50_us > 0
    assert fast.reference_p50_us == slow.reference_p50_us > 0, "one reference for all"
    assert [found.batch for found in (fast, slow, again)] == [8, 8, 8]
    assert all(found.p95_us >= found.p50_us for found in (fast, slow, again))


def test_one_model_alone_and_figures_for_people() -> None:
    found = measure(chain(1), INPUTS, batch=1, threads=1, rounds=5)
    assert set(found.to_json()) == {"batch", "p50_us", "p95_us", "ratio_p50", "ratio_p95", "reference_p50_us", "rounds"}
    assert {"processor", "cores", "onnxruntime"} <= set(machine())


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(Exception, match="no ONNX file"):
        measure_all([chain(1), b"nothing"], INPUTS, batch=1, threads=1, rounds=5)


def test_the_interval_of_a_median_is_that_of_the_binomial_tables() -> None:
    # Of 30 values the 8th and the 23rd, of 10 the first and the last; 7 are too few for 99 %.
    shuffled = np.random.default_rng(0).permutation(np.arange(1.0, 31))
    assert median_interval(shuffled) == (8, 23)
    assert median_interval(np.arange(1.0, 11)) == (1, 10)
    assert np.isnan(median_interval(np.arange(7.0))).all()


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    found = [median_interval(random.lognormal(0, 1, 30)) for _ in range(2000)]
    assert np.mean([low <= 1 <= high for low, high in found]) > 0.985


@pytest.mark.parametrize(
    ("interval", "open_"),
    [((1.0, 1.9), False), ((1.0, 2.0), False), ((1.9, 2.1), True), ((2.1, 2.2), False), ((np.nan, np.nan), True)],
)
def test_an_interval_leaves_a_limit_of_two_open_or_not(interval: tuple[float, float], open_: bool) -> None:
    assert straddles(interval, 2.0) is open_
