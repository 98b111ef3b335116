"""The result manifest is the small JSON by which a stage reports that it is done, or why it is not."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["done", "reused", "partial", "failed"]


def run_key(workload: str, run_id: str, *parts: str) -> str:
    """Return the key of an object of one run in the run store."""
    return "/".join(("runs", workload, run_id, *parts))


class Manifest(BaseModel):
    """A manifest tells how one stage of one run ended.

    `inputs_key`: SHA-256 over command, params and the digests of all inputs. `reused_from`: run_id whose outputs were
    taken. `seconds`: wall time. `peak_memory_mb`: of the stage's own process. `partial`: ran without all its inputs.
    `cpu_seconds`, `joules`: of its commands; `energy`: whether joules are measured or estimated, empty: not known.
    `surroundings`: processor, libraries and the like of the machine that made the outputs.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    workload: str
    run_id: str
    status: Status
    reason: str
    inputs_key: str = ""
    lock_sha256: str = ""
    reused_from: str = ""
    started: str = ""
    ended: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    cpu_seconds: float = 0.0
    joules: float = 0.0
    energy: str = ""
    host: str = ""
    pages_uri: str = ""
    summary: dict[str, Any] = {}
    surroundings: dict[str, Any] = {}
    error: str = ""
    exit_code: int = 0

    @property
    def finished(self) -> bool:
        """Return whether a later stage may build on it."""
        return self.status in ("done", "reused")
