"""Gates of other packages: beside the mandatory ones, never in place of one, and refused where they fail."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.gates.champion import Champion
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.further import parse_gates
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.mandatory import MANDATORY
from tasks.gates.options import Gates
from tasks.gates.verdict import decide
from tests.plugins.install import install, visible

HEAD = """
from tasks.gates.gate import Gate
from tasks.gates.result import GateResult


def passed(name, candidate, observed=None):
    return GateResult(name, candidate, True, observed, None, "any")


class Odd(Gate):
    kind = "odd"

    def judge(self, case):
        name = case.candidate.name
"""
BODIES = {
    "return [passed('odd', name), passed('odd/second', name, 1.0)]": "",
    "return []": "ValueError: the gate gave no result",
    "return [passed('size', name)]": "ValueError: the gate gave a result in the name of size",
    "return [passed('odd', name), passed('odd', name)]": "ValueError: the gate gave two results odd",
    "return [passed('odd', 'another')]": "ValueError: the gate gave a result for another",
    "return [passed('odd', name, float('nan'))]": "ValueError: the gate passed nan",
    "return None": "TypeError: 'NoneType' object is not iterable",
    "raise RuntimeError('two\\nlines')": "RuntimeError: two lines",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    with visible(tmp_path):
        yield tmp_path


@pytest.mark.parametrize("body", BODIES)
def test_what_a_gate_cannot_judge_is_refused_and_the_mandatory_gates_are_judged_in_any_case(
    body: str,
    site: Path,
    evaluation: EvaluationSet,
    gates: Gates,
    make_candidate: Callable[..., Candidate],
    make_onnx: Callable[..., bytes],
) -> None:
    install(site, "beta", "0.3", {"nightstill.gates": {"odd": "beta:Odd"}}, {"beta.py": f"{HEAD}        {body}\n"})
    naive = evaluation.score(evaluation.problem.naive(evaluation.dataset, evaluation.rows))
    opponents = Opponents(naive, evaluation.score(evaluation.run(make_onnx(10.01))), Champion(0))
    gates = gates.model_copy(update={"further": (Spec(kind="odd"),)})
    (judged,) = decide([make_candidate()], evaluation, opponents, gates, seed=5).ranked
    assert judged.passed == (not BODIES[body])
    assert [result.note for result in judged.failed] == ([BODIES[body]] if BODIES[body] else [])
    assert {result.gate.partition("/")[0] for result in judged.results} == {"runs", *MANDATORY, "odd"} - {
        "drift",
        "diversity",
        "calibration",
        "floors",
    }
    heavy = make_candidate(model=make_onnx(10.01, layers=1))
    assert "size" in {result.gate for result in decide([heavy], evaluation, opponents, gates, 5).ranked[0].failed}


@pytest.mark.parametrize("name", ["runs", *MANDATORY])
def test_a_mandatory_gate_s_name_is_taken(name: str, site: Path) -> None:
    install(site, "beta", "0.3", {"nightstill.gates": {name: "beta:Odd"}}, {"beta.py": HEAD + "        return []\n"})
    with pytest.raises(ConfigError, match=rf"gates\.further\.0\.kind: {name} is a mandatory gate"):
        parse_gates([Spec(kind=name)])


def test_two_gates_of_one_name_are_refused(site: Path) -> None:
    install(site, "beta", "0.3", {"nightstill.gates": {"odd": "beta:Odd"}}, {"beta.py": HEAD + "        return []\n"})
    with pytest.raises(ConfigError, match=r"gates\.further\.1\.kind: odd stands there twice"):
        parse_gates([Spec(kind="odd"), Spec(kind="odd")])
    with pytest.raises(ConfigError, match=r"gates\.further\.0\.kind: unknown kind 'even'; there are: odd"):
        parse_gates([Spec(kind="even")])
    with pytest.raises(ConfigError, match=r"gates\.further\.0\.limit of kind odd: Extra inputs"):
        parse_gates([Spec(kind="odd", limit=1)])
