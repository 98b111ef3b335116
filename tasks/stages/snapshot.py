"""Stage snapshot takes the source's tables up to as_of into Parquet files and describes them."""

from dataclasses import replace

from tasks.core.files import write_json
from tasks.problems import get_problem
from tasks.stages.context import Context
from tasks.tables.sources import get_source
from tasks.tables.sources.about import describe, write
from tasks.tables.sources.rows import up_to
from tasks.tables.table import in_zone


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/snapshot/{tables/<name>.parquet, about.json}. Equal rows give equal bytes."""
    take(ctx)


def take(ctx: Context, *, earlier: bool = False) -> None:
    """Write them; `earlier`: as_of is a day of the past, and what the source delivers beyond it is left out."""
    contracts = {
        contract.name: contract for contract in in_zone(get_problem(ctx.run.problem).tables(), ctx.run.timezone)
    }
    source = get_source(ctx.run.source, tuple(contracts.values()), ctx.run.workload, ctx.settings.project)
    snapshot = source.fetch(ctx.run.as_of)
    if earlier:
        tables = {each: up_to(table, contracts[each], ctx.run.as_of) for each, table in snapshot.tables.items()}
        snapshot = replace(snapshot, tables=tables)
    folder = ctx.artifacts / "snapshot"
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    digests = {
        table_name: write(table, folder / "tables" / f"{table_name}.parquet")
        for table_name, table in snapshot.tables.items()
    }
    about = describe(snapshot, contracts, digests, ctx.run.source.kind, ctx.run.as_of)
    write_json(folder / "about.json", about)
    first, *others = about["tables"]
    told = {key: about["tables"][first][key] for key in ("rows", "entities", "first_date", "last_date")}
    ctx.summary("snapshot", {**told, **{f"{other}_rows": about["tables"][other]["rows"] for other in others}})
