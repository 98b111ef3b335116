"""A gate: a candidate must not say too much or too little of everything."""

import numpy as np
from pydantic import Field

from tasks.gates.gate import Case, Gate
from tasks.gates.result import GateResult, at_most


class Bias(Gate):
    """`limit`: of the sum of outputs, relative to the sum of what was true."""

    kind = "acme-bias"
    limit: float = Field(gt=0)

    def judge(self, case: Case) -> list[GateResult]:
        target = case.evaluation.target.astype(np.float64)
        bias = abs(float(case.output.sum(dtype=np.float64)) / float(target.sum()) - 1)
        return [at_most(self.kind, case.candidate.name, bias, self.limit, f"bias at most {self.limit:g}")]
