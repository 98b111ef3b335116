"""The current champion is measured as an opponent: its released bytes run on the same rows as the candidates."""

import json
from dataclasses import dataclass, field

from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.robustness import one_line
from tasks.problems.base import Floats, Inputs, Score
from tasks.problems.contracts import contract_from_json

WAY_OUT = "to start a new line of releases, give the workload a new name in params.yaml"


@dataclass(frozen=True)
class Champion:
    """A Champion is compared with the candidates. `sequence`: the ledger entry that made it champion, 0 for none.

    `sample`: a few rows of its own inputs, to measure its latency with.
    """

    sequence: int
    model: bytes | None = None
    output: Floats | None = None
    score: Score | None = None
    note: str = ""
    sample: Inputs = field(default_factory=dict)

    @property
    def absent(self) -> bool:
        """Return whether there is none yet: the first night."""
        return self.sequence == 0


def measure_champion(sequence: int, model: bytes | None, contract: bytes | None, evaluation: EvaluationSet) -> Champion:
    """Run the champion on the evaluation rows, with inputs made under `contract`, its released contract.json.

    A champion that cannot be measured comes back without a score, so that the gates refuse all candidates: nothing
    is released without the comparison.
    """
    if sequence == 0:
        return Champion(0)
    name = f"the champion (ledger entry {sequence})"
    if model is None or contract is None:
        missing = "model.onnx" if model is None else "contract.json"
        return Champion(sequence, model, note=f"{name} has no {missing} in the release store")
    try:
        released = contract_from_json(json.loads(contract))
        today = evaluation.dataset.contract
        if released.problem != today.problem:
            raise ValueError(
                f"it answers {released.problem} {released.output_shape}, not {today.problem} {today.output_shape}"
            )
        translated = evaluation.dataset.answers(released)
        under = evaluation.under(released)
        output = translated(under.run(model))
    except Exception as error:  # noqa: BLE001 a faulty champion must not stop the verdict, only refuse every candidate
        return Champion(sequence, model, note=f"{name} cannot be compared: {one_line(error)}; {WAY_OUT}")
    return Champion(sequence, model, output, evaluation.score(output), sample=under.sample)
