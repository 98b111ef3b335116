"""This module scores raw tables with a release: its own kind of learning, checks, contract and training code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
from polars import selectors
from pydantic import BaseModel, ConfigDict

from serving.contract import InputError
from tasks.core.config import Spec, explained
from tasks.core.documents import read_mapping
from tasks.core.errors import ConfigError, DataError, IntegrityError, RuleError
from tasks.core.files import RUN_FILE
from tasks.problems import get_problem
from tasks.problems.base import Predict
from tasks.problems.contracts import contract_from_json
from tasks.tables.table import TableContract, Tables, in_zone, known
from tasks.tables.validation.guard import Guard, surely_finite
from tasks.tables.validation.options import Checks, checks_by_table, parse_checks


class Sections(BaseModel):
    """Sections holds the sections of a release's run.yaml that scoring reads; the others may be of another version."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    problem: Spec
    source: Spec | None = None
    checks: Checks
    timezone: str = "UTC"


class TableScorer:
    """A TableScorer makes the features and checks of one release, without its model.

    `run`: text of its run.yaml, `contract`: values of its contract.json, `release`: what errors call it. Raises
    ConfigError when run.yaml is of no kind of learning that is known here, and ValueError, KeyError or TypeError when
    the contract is none.
    """

    def __init__(self, run: str | bytes, contract: Mapping[str, Any], release: str) -> None:
        self._release, origin = release, f"{release}: {RUN_FILE}"
        with explained(f"{origin}: "):
            sections = Sections.model_validate(read_mapping(run, origin))
        try:
            self.problem = get_problem(sections.problem)
            self.contracts: tuple[TableContract, ...] = in_zone(self.problem.tables(), sections.timezone)
            self.contracts = _as_called(self.contracts, sections.source)
            checks = checks_by_table(sections.checks, self.contracts)
            self._guards = {
                table.name: Guard(table, parse_checks(checks[table.name], table)) for table in self.contracts
            }
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error}") from error
        self.contract = contract_from_json(contract)

    def check(self, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """Return the tables by name. Raises DataError if one is missing, RuleError when one breaks its contract."""
        given = known(tables, self.contracts)
        for contract in self.contracts:
            if contract.name in given:
                self._require(given[contract.name], contract)
        return given

    def _require(self, table: pl.DataFrame, contract: TableContract) -> None:
        try:
            self._guards[contract.name].require(table)
        except RuleError as error:
            if len(self.contracts) == 1:
                raise
            column = f"{contract.name}.{error.column}" if error.column else contract.name
            raise RuleError(f"{contract.name}: {error}", column, error.rule, error.row) from None

    def recent(self, tables: Tables, as_of: date) -> Tables:
        """Return the rows that predictions on `as_of` can depend on. Raises IntegrityError as `predict` does."""
        with self._blamed():
            return self.problem.recent(known(tables, self.contracts), as_of, self.contract)

    def require_fit(self, tables: Mapping[str, pl.DataFrame], most: int) -> None:
        """Raise RuleError when `predict` would hold more than `most` bytes for anything but the model's rows."""
        with self._blamed():
            self.problem.require_fit({name: table.lazy() for name, table in tables.items()}, self.contract, most)

    def predict(self, tables: Mapping[str, pl.DataFrame], as_of: date, model: Predict) -> pl.DataFrame:
        """Return predictions for raw tables that were checked.

        Raises DataError when none can be made, or one is no number, and IntegrityError when the release's own contract
        and model do not fit its kind of learning.
        """
        lazy = {name: table.lazy() for name, table in tables.items()}
        with self._blamed():
            found = self.problem.predict(lazy, as_of, self.contract, model)
        return _finite(found)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Blame the release for errors: the tables keep their contract, so the fault lies in the released files."""
        try:
            yield
        except (DataError, InputError, MemoryError):
            raise
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise IntegrityError(f"{self._release}: cannot be used: {said:.300}; roll back") from error


def _as_called(contracts: tuple[TableContract, ...], source: Spec | None) -> tuple[TableContract, ...]:
    """Return the contracts, the first one with what its columns are called in the source's file."""
    names = source.options.get("columns") if source else None
    if not isinstance(names, Mapping):
        return contracts
    first, *others = contracts
    columns = (replace(column, theirs=str(names.get(column.name, ""))) for column in first.columns)
    return replace(first, columns=tuple(columns)), *others


def _finite(predictions: pl.DataFrame) -> pl.DataFrame:
    """Return the predictions if all are finite numbers. Raises DataError naming the first row that is not."""
    if surely_finite(predictions):
        return predictions
    fine = pl.all_horizontal(selectors.float().is_finite().fill_null(value=True))
    odd = predictions.filter(~fine)
    if odd.height:
        first = ", ".join(f"{name} {value}" for name, value in odd.row(0, named=True).items())
        raise DataError(
            f"{odd.height:,} predictions are not finite, the first: {first:.200}; the table holds values that no "
            "training saw"
        )
    return predictions
