"""The pipeline as read from dvc.yaml."""

from pathlib import Path

import pytest
import yaml

from tasks.pipeline.graph import GraphError, load_graph

PROJECT = Path(__file__).parents[3]
SMALL = """
stages:
  b: {cmd: run b, deps: [out/a], outs: [out/b], meta: {timeout_minutes: 5, trigger: all_done}}
  fan:
    foreach: ${members}
    do:
      {cmd: "run ${key} ${item.size}", deps: [out/b], params: [{run.yaml: ["members.${key}", seed]}],
       outs: ["out/fan/${key}"]}
  join: {cmd: run join, deps: [out/fan, code], outs: [out/join], always_changed: true}
  a: {cmd: run a, outs: [out/a]}
"""
MEMBERS = {"members": {"x": {"size": 1}, "y": {"size": 2}}, "seed": 3}


def test_stages_come_in_topological_order_with_their_upstream() -> None:
    graph = load_graph(SMALL, MEMBERS)
    assert list(graph.stages) == ["a", "b", "fan@x", "fan@y", "join"]
    assert graph.stages["join"].upstream == ("fan@x", "fan@y")
    assert graph.stages["fan@y"].cmd == "run y 2"
    assert graph.stages["fan@y"].params == (("run.yaml", "members.y"), ("run.yaml", "seed"))
    assert graph.ancestors("join") == ("a", "b", "fan@x", "fan@y")
    assert graph.stages["b"].runs_always and not graph.stages["a"].runs_always
    assert graph.stages["join"].always_changed


def test_foreach_over_a_list_of_values() -> None:
    graph = load_graph('stages: {s: {foreach: [1, 2], do: {cmd: "run ${item}", outs: ["o/${item}"]}}}', {})
    assert [stage.cmd for stage in graph.stages.values()] == ["run 1", "run 2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: {a: {cmd: 'run ${nothing}'}}", "stages.a: unknown variable"),
        ("stages: {a: {cmd: x, outs: [o]}, b: {cmd: y, outs: [o/p]}}", "a and b both write o/p"),
        ("stages: {a: {cmd: x, deps: [p], outs: [o]}, b: {cmd: y, deps: [o], outs: [p]}}", "cycle: a, b"),
        ("stages: {a: {outs: [o]}}", "stages.a.cmd"),
        ("stages: {a: {matrix: {m: [1]}, cmd: x}}", "matrix is not supported"),
        ("[]", "expected a mapping"),
    ],
)
def test_bad_pipelines_are_refused_with_the_stage_named(text: str, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        load_graph(text, {})


@pytest.mark.parametrize("workload", ["sales", "customers"])
def test_every_workload_has_the_whole_pipeline(workload: str) -> None:
    section = yaml.safe_load((PROJECT / "params.yaml").read_text())["workloads"][workload]
    graph = load_graph((PROJECT / "dvc.yaml").read_text(), section)
    kinds = [name.split("@")[0] for name in graph.stages]
    assert list(dict.fromkeys(kinds)) == (
        ["snapshot", "validate", "features", "teach", "distil", "compress", "evaluate", "promote", "report"]
    )
    assert kinds.count("compress") == len(section["recipes"])
