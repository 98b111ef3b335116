"""Raw tables scored with a release: its own kind of learning, checks and feature contract, the code that trained it."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.config.reading import explain, read_mapping
from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.base import Predict
from tasks.problems.contracts import contract_from_json
from tasks.tables.table import TableContract
from tasks.tables.validation.guard import require
from tasks.tables.validation.options import Checks


class Sections(BaseModel):
    """The sections of a release's run.yaml that scoring reads; the others may be of another version."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    problem: Spec
    checks: Checks


class TableScorer:
    """Features and checks of one release, without its model.

    `run`: text of its run.yaml, `contract`: values of its contract.json, `origin`: what errors call run.yaml. Raises
    ConfigError when these are of no kind of learning that is known here, and ValueError, KeyError or TypeError when the
    contract is none.
    """

    def __init__(self, run: str, contract: Mapping[str, Any], origin: str) -> None:
        try:
            sections = Sections.model_validate(read_mapping(run, origin))
        except ValidationError as error:
            raise explain(origin, error) from error
        self.problem = get_problem(sections.problem)
        self.table: TableContract = self.problem.table()
        self.contract = contract_from_json(contract)
        self._checks = sections.checks

    def check(self, table: pl.DataFrame) -> None:
        """Raises RuleError when the table breaks its contract."""
        require(table, self.table, self._checks)

    def predict(self, table: pl.DataFrame, as_of: date, model: Predict) -> pl.DataFrame:
        """Predictions for a raw table that was checked. Raises DataError when none can be made."""
        return self.problem.predict(table.lazy(), as_of, self.contract, model)
