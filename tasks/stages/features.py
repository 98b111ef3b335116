"""Stage features makes model-ready rows and the feature contract from the snapshot."""

from tasks.problems import get_problem
from tasks.stages.context import Context


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/features: the files of `Dataset.save`, contract.json among them."""
    dataset = get_problem(ctx.run.problem).features(ctx.tables(), ctx.run.as_of)
    dataset.save(ctx.artifacts / "features")
    ctx.summary("features", {f"{split}_rows": len(rows) for split, rows in dataset.splits.items()})
