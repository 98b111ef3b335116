"""This module runs a workload's Great Expectations suite: rules of the contract and thresholds, with Data Docs."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from tasks.tables.table import TableContract
from tasks.tables.validation.options import Checks, checks_by_table, parse_checks
from tasks.tables.validation.rules import Fact, RowRule, row_rules, samples, shown, table_facts, type_facts, usable


@dataclass(frozen=True)
class Check:
    """A Check is the result of one expectation. `count`: failing rows (or days, entities); `sample`: a few of them.

    `table`: where the workload has several.
    """

    column: str
    rule: str
    expected: str
    observed: str | float
    success: bool
    count: int
    sample: tuple[Mapping[str, Any], ...]
    table: str = ""

    def __str__(self) -> str:
        first = f", e.g. {shown(self.sample[0])}" if self.sample else ""
        wanted = "" if self.expected == self.rule else f" (expected {self.expected})"
        where = f"{self.table}: " if self.table else ""
        return f"{where}{self.column}: {self.rule}{wanted}: observed {self.observed}{first}"


def validate(
    table: pl.DataFrame,
    about: Mapping[str, Any],
    contract: TableContract,
    checks: Checks,
    as_of: date,
    reference: Mapping[str, Any] | None,
    docs: Path | None = None,
    name: str = "table",
) -> list[Check]:
    """Check a snapshot; write Data Docs into `docs` (None: none), replacing those of an earlier try.

    `about`: facts of the table; `reference`: those of the champion's snapshot, or None. Columns that are missing or of
    a wrong type are reported and left out of the other rules. Raises ConfigError on a wrong
    threshold.
    """
    options = parse_checks(checks, contract)
    rows: list[RowRule] = []
    facts = [_readable(about), Fact("table", "number of rows", table.height, low=1, count=int(table.is_empty()))]
    exist: list[str] = []
    if "unreadable" in about:
        facts = facts[:1]
    elif table.width:
        exist = [column.name for column in contract.columns if column.required]
        facts += type_facts(table, contract)
    if exist and table.height:
        columns = usable(table, contract)
        rows = row_rules(columns, contract, options)
        facts += table_facts(table, columns, contract, options, as_of, about, reference)
    # Columns that no row rule reads need no pandas twin.
    read = {part for rule in rows for part in rule.arguments.get("column_list", [rule.arguments.get("column")])}
    shown = [column for column in table.columns if column in read or column in exist]
    outcome = _run(name, table.select(shown), exist, rows, facts, docs)
    found = [_existence(column, ok, table, contract) for column, ok in zip(exist, outcome.exist, strict=True)]
    judged = [_fact_check(fact, ok) for fact, ok in zip(facts, outcome.facts, strict=True)]
    each = [_row_check(rule, count, table, contract) for rule, count in zip(rows, outcome.unexpected, strict=True)]
    shape = [check for check in judged if check.rule in ("readable file", "number of rows", "type")]
    return [*shape[:2], *found, *shape[2:], *(check for check in judged if check not in shape), *each]


def validate_tables(
    tables: Mapping[str, pl.DataFrame],
    about: Mapping[str, Mapping[str, Any]],
    contracts: Sequence[TableContract],
    checks: Checks,
    as_of: date,
    references: Mapping[str, Mapping[str, Any] | None],
    docs: Path | None,
    name: str,
) -> list[Check]:
    """`validate` for each table by name, with `about` and `references` of each; Data Docs of further ones lie below."""
    thresholds, by_name = checks_by_table(checks, contracts), {contract.name: contract for contract in contracts}
    found: list[Check] = []
    for table_name, table in tables.items():
        mine = validate(
            table=table,
            about=about[table_name],
            contract=by_name[table_name],
            checks=thresholds[table_name],
            as_of=as_of,
            reference=references.get(table_name),
            docs=docs / table_name if docs is not None and found else docs,
            name=name,
        )
        found += [replace(check, table=table_name if len(contracts) > 1 else "") for check in mine]
    return found


def _readable(about: Mapping[str, Any]) -> Fact:
    reason = about.get("unreadable")
    sample = ({"reason": reason},) if reason else ()
    return Fact("file", "readable file", "no" if reason else "yes", allowed=("yes",), count=len(sample), sample=sample)


def _existence(column: str, ok: bool, table: pl.DataFrame, contract: TableContract) -> Check:
    unknown = [name for name in table.columns if name not in {each.name for each in contract.columns}]
    others = ({"columns_not_in_contract": " ".join(unknown[:10])},) if not ok and unknown else ()
    return Check(column, "column exists", "present", "present" if ok else "missing", ok, int(not ok), others)


def _fact_check(fact: Fact, ok: bool) -> Check:
    return Check(fact.column, fact.rule, fact.expected, fact.value, ok, 0 if ok else fact.count, fact.sample)


def _row_check(rule: RowRule, count: int, table: pl.DataFrame, contract: TableContract) -> Check:
    names = rule.arguments.get("column_list", [rule.column])
    sample = samples(table.filter(rule.bad), contract, *names) if count else ()
    return Check(rule.column, rule.rule, rule.rule, f"{count} of {table.height} rows", count == 0, count, sample)


@dataclass(frozen=True)
class _Outcome:
    exist: Sequence[bool]
    unexpected: Sequence[int]
    facts: Sequence[bool]


def _run(
    name: str, table: pl.DataFrame, exist: list[str], rows: list[RowRule], facts: list[Fact], docs: Path | None
) -> _Outcome:
    """Run both suites (`<name>-rows` on the table, `<name>-facts` on one row of facts) and write Data Docs."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import: no call home
    import great_expectations as gx
    import great_expectations.expectations as gx_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    expectations: Any = gx_expectations  # its stubs export no names
    for logger in ("great_expectations", "great_expectations.data_context.types.base"):  # the latter has its own level
        logging.getLogger(logger).setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for site in context.get_site_names():
        context.delete_data_docs_site(site)
    source = context.data_sources.add_pandas(name)

    def run(subject: str, suite: list[Any], frame: pl.DataFrame) -> list[Any]:
        if not suite:
            return []
        batch = source.add_dataframe_asset(subject).add_batch_definition_whole_dataframe("snapshot")
        stored = context.suites.add(gx.ExpectationSuite(f"{name}-{subject}", expectations=suite))
        definition = gx.ValidationDefinition(name=f"{name}-{subject}", data=batch, suite=stored)
        checkpoint = gx.Checkpoint(
            name=f"{name}-{subject}",
            validation_definitions=[context.validation_definitions.add(definition)],
            actions=[],
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": 5},
        )
        result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": _to_pandas(frame)})
        (run_result,) = result.run_results.values()
        # Results come in another order than expectations, so each carries its number.
        return sorted(run_result.results, key=lambda one: int(one.expectation_config.meta["number"]))

    wanted = [expectations.ExpectColumnToExist(column=column, meta={"number": at}) for at, column in enumerate(exist)]
    wanted += [
        getattr(expectations, rule.expectation)(**rule.arguments, meta={"number": len(exist) + at})
        for at, rule in enumerate(rows)
    ]
    on_rows = run("rows", wanted, table)
    labels = [f"{fact.column}: {fact.rule}" for fact in facts]
    on_facts = run(
        "facts",
        [
            expectations.ExpectColumnValuesToBeInSet(column=label, value_set=list(fact.allowed), meta={"number": at})
            if fact.allowed
            else expectations.ExpectColumnValuesToBeBetween(
                column=label, min_value=fact.low, max_value=fact.high, meta={"number": at}
            )
            for at, (label, fact) in enumerate(zip(labels, facts, strict=True))
        ],
        pl.DataFrame({label: [fact.value] for label, fact in zip(labels, facts, strict=True)}),
    )
    if docs is not None:
        _write_docs(context, docs)
    return _Outcome(
        [bool(result.success) for result in on_rows[: len(exist)]],
        # An expectation that could not be computed has no count: every row counts as failing.
        [
            0 if one.success else int(one.result.get("unexpected_count") or table.height)
            for one in on_rows[len(exist) :]
        ],
        [bool(result.success) for result in on_facts],
    )


def _write_docs(context: Any, docs: Path) -> None:
    shutil.rmtree(docs, ignore_errors=True)
    site = {
        "class_name": "SiteBuilder",
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "site_section_builders": {"expectations": "None"},  # the results show each expectation anyway
    }
    context.add_data_docs_site("docs", site)
    context.build_data_docs(["docs"])
    for animation in (docs / "static" / "images").glob("*.gif"):
        animation.unlink()  # a tour of Great Expectations: 3 MB in every run


def _to_pandas(frame: pl.DataFrame) -> Any:
    """Convert to pandas with text as categories: a tenth of the memory."""
    return frame.with_columns(pl.col(pl.String).cast(pl.Categorical), pl.col(pl.Decimal).cast(pl.Float64)).to_pandas()
