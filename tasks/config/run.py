"""`run.yaml`: what the stages read, the section of one workload and what varies by night.

DVC tracks parts of `run.yaml`, so nothing that must not enter a lock (run_id, clock time) may stand in it.
"""

from datetime import date

import yaml
from pydantic import Field

from tasks.config.workload import Workload
from tasks.core.config import Name, explained
from tasks.core.documents import read_mapping
from tasks.core.files import RUN_FILE


class Run(Workload):
    """run.yaml: a workload's section and what varies by night.

    `champion` is the sequence number of the ledger's last entry (0: none): the entry that evaluation compares
    with and that promotion is fenced against.
    """

    workload: Name
    as_of: date
    champion: int = Field(ge=0)
    dry_run: bool = False

    def section(self) -> Workload:
        """The workload's part alone."""
        return Workload.model_validate(self.model_dump(exclude={"workload", "as_of", "champion", "dry_run"}))

    def to_yaml(self) -> str:
        """Canonical text: equal runs give equal bytes."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=True, allow_unicode=True)


def parse_run(text: str | bytes, origin: str = RUN_FILE) -> Run:
    """Validate a run.yaml. Raises ConfigError."""
    with explained(f"{origin}: "):
        return Run.model_validate(read_mapping(text, origin))
