"""This module defines the `checks` section of a workload: the thresholds of the data checks."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from tasks.core.config import explained
from tasks.core.errors import ConfigError
from tasks.tables.steps import Step
from tasks.tables.table import TableContract


class Checks(BaseModel):
    """Checks holds the thresholds of the data checks; the problem's own keys are validated by the problem."""

    model_config = ConfigDict(frozen=True, extra="allow")

    max_stale_days: int = Field(default=0, ge=0)
    max_stale_steps: int | None = Field(default=None, ge=0)
    max_volume_ratio: float = Field(default=3.0, gt=1)


class CheckOptions(Checks):
    """CheckOptions defines every key of `checks`.

    - `max_stale_steps`: steps known as of `as_of` that may lie after the last known row; without it, those that
      `max_stale_days` have room for;
    - `max_volume_ratio`: how many times more (or less) rows and target a day, or a longer step, than before, or than
      the champion's snapshot had;
    - `max_gap_steps`: most steps in a row without a row: in the table, and in each entity if the table
      has rows for steps ahead (so each of its steps has one); without it, those that `max_gap_days` have room for;
    - `min_entity_share`: least share of the entities (of lately, and of the champion's snapshot) that must be there;
    - `max_units`: largest believable target of one row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_gap_days: int = Field(default=6, ge=0)
    max_gap_steps: int | None = Field(default=None, ge=0)
    min_entity_share: float = Field(default=0.7, gt=0, le=1)
    max_units: float | None = Field(default=None, gt=0)

    def stale(self, step: Step) -> int:
        """Return the most steps without data up to `as_of`."""
        return step.within(self.max_stale_days) if self.max_stale_steps is None else self.max_stale_steps

    def gap(self, step: Step) -> int:
        """Return the most steps without a row within the data."""
        return step.within(self.max_gap_days) if self.max_gap_steps is None else self.max_gap_steps


def checks_by_table(checks: Checks, contracts: Sequence[TableContract]) -> dict[str, Checks]:
    """Return the thresholds of each table: `max_units` applies to tables that have a target, if any has."""
    if all(contract.target is None for contract in contracts):
        return {contract.name: checks for contract in contracts}
    without = Checks.model_validate({name: value for name, value in checks.model_dump().items() if name != "max_units"})
    return {contract.name: without if contract.target is None else checks for contract in contracts}


def parse_checks(checks: Checks, contract: TableContract) -> CheckOptions:
    """Validate a `checks` section. Raises ConfigError naming the key."""
    with explained("checks", note=f"; there are: {', '.join(CheckOptions.model_fields)}"):
        options = CheckOptions.model_validate(checks.model_dump())
    if options.max_units is not None and contract.target is None:
        raise ConfigError("checks.max_units: this problem's table has no target column; remove the key")
    return options
