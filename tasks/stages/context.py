"""A context gives a stage's module its configuration and folders. Runners differ; this does not."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config.run import Run, parse_run
from tasks.core.files import RUN_FILE, write_json
from tasks.core.settings import Settings

if TYPE_CHECKING:
    from tasks.tables.table import Tables


@dataclass(frozen=True)
class Context:
    """A context has the workspace as `root` (outputs are declared relative to it in dvc.yaml).

    `pages`: files written here are kept with the run but never enters a lock (Data Docs, the report).
    `checkpoints`: URI of a store for resumable training, empty for none. `run_id`: empty under plain `dvc repro`.
    """

    run: Run
    settings: Settings
    root: Path
    pages: Path
    checkpoints: str = ""
    run_id: str = ""

    @property
    def artifacts(self) -> Path:
        """Return the folder of all declared outputs."""
        return self.root / "artifacts"

    @property
    def candidates(self) -> Path:
        """Return the folder of the candidates that are judged."""
        return self.root / self.run.code.candidates

    def tables(self) -> "Tables":
        """Return the snapshot's tables by name, each read on first use."""
        import polars as pl

        folder = self.artifacts / "snapshot" / "tables"
        return {path.stem: pl.scan_parquet(path, glob=False) for path in sorted(folder.glob("*.parquet"))}

    def summary(self, stage: str, numbers: Mapping[str, Any]) -> None:
        """Hand a few numbers to the result manifest (they enter no lock)."""
        write_json(self.pages / f"{stage}.summary.json", numbers)


def current() -> Context:
    """Return the context of this process, from the working folder and the environment that the runner set.

    Raises ConfigError when there is no valid run.yaml here.
    """
    root = Path.cwd()
    path = root / RUN_FILE
    text = path.read_text() if path.is_file() else ""
    return Context(
        run=parse_run(text, str(path)),
        settings=Settings(),
        root=root,
        pages=Path(os.environ.get("NIGHTSTILL_PAGES", root / "artifacts" / "pages")),
        checkpoints=os.environ.get("NIGHTSTILL_CHECKPOINTS", ""),
        run_id=os.environ.get("NIGHTSTILL_RUN_ID", ""),
    )
