"""Stage validate checks the snapshot against the workload's suite; bad data stops the run here."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tasks.core.errors import DataError
from tasks.core.files import read_json, write_json
from tasks.problems import get_problem
from tasks.problems.base import Finding
from tasks.stages.context import Context
from tasks.tables.facts import facts_of
from tasks.tables.table import known
from tasks.tables.validation.suite import Check, validate_tables


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/validation/result.json and Data Docs. Raises DataError with the first failure in one line."""
    about, reference = read_json(ctx.artifacts / "snapshot" / "about.json"), _reference(ctx)
    problem = get_problem(ctx.run.problem)
    contracts = problem.tables()
    tables = {each: table.collect() for each, table in known(ctx.tables(), contracts).items()}
    checks = validate_tables(
        tables,
        {each: facts_of(about, each) or {} for each in tables},
        contracts,
        ctx.run.checks,
        ctx.run.as_of,
        {} if reference is None else {each: facts_of(reference, each) for each in tables},
        ctx.pages / "data-docs",
        ctx.run.workload,
    )
    suite = len(checks)
    if all(check.success for check in checks):
        checks += [_check(found) for found in problem.findings(known(ctx.tables(), contracts), ctx.run.as_of)]
    failed = [check for check in checks if not check.success]
    result = {"success": not failed, "checks": [asdict(check) for check in checks]}
    write_json(ctx.artifacts / "validation" / "result.json", result)
    write_json(ctx.pages / "validation.json", result)  # outputs of a failed stage are dropped, pages are kept
    ctx.summary("validate", {"expectations": len(checks), "failed": len(failed)})
    if failed:
        page = "data-docs/index.html" if len(checks) == suite else "validation.json"  # Data Docs lack findings
        where = f"all of them: {page} among this stage's pages"
        raise DataError(f"validate: {len(failed)} of {len(checks)} expectations failed; {failed[0]}; {where}")
    # Later stages depend on this file alone: a new champion to compare with must not retrain everything.
    write_json(ctx.artifacts / "valid.json", {"valid": True})


def _check(found: Finding) -> Check:
    """Return a finding of the kind of learning as a check; a value that is not finite is none that is allowed."""
    told = math.isfinite(found.value)
    success = told and found.value <= found.high
    value = float(f"{found.value:.6g}") if told else str(found.value)  # JSON has no such number
    sample = (found.example,) if found.example and not success else ()
    return Check(found.column, found.rule, f"<= {found.high:g}", value, success, int(not success), sample, found.table)


def _reference(ctx: Context) -> Mapping[str, Any] | None:
    """Return the profile of the champion's snapshot; None when there is no champion."""
    if not ctx.run.champion:
        return None
    from tasks.releases.store import ReleaseStore

    data = ReleaseStore(ctx.settings.releases(), ctx.run.workload).champion_file(ctx.run.champion, "snapshot.json")
    return None if data is None else json.loads(data)
