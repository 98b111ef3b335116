"""What a collector of lineage is told of forecasts: of which tables and release they were made, and where they are."""

from tasks.core.settings import Settings
from tasks.pipeline.handover.datasets import Dataset, of_entries
from tasks.pipeline.handover.locks import output_entries
from tasks.pipeline.handover.run_store import RunStore
from tasks.scoring.kept import Made


def forecasts_of(workload: str, place: str, sha256: str = "", size: int | None = None) -> Dataset:
    """Return the dataset that a workload's kept forecasts are; `sha256` and bytes of one Parquet file of them."""
    return Dataset(f"{workload}/forecasts", sha256, place, size, 1 if sha256 else None)


def read_for(settings: Settings, made: Made, release_url: str) -> list[Dataset]:
    """Return what forecasts are made of: a release by its own digest, and a night's snapshot or the source's tables."""
    release = Dataset(f"{made.workload}/releases/{made.release}", made.manifest_sha256, release_url)
    if made.run_id:
        store = RunStore(settings.runs())
        manifest = store.manifest(made.workload, made.run_id, "snapshot")
        entries = output_entries(store.lock(manifest)) if manifest and manifest.finished else {}
        return [release, *of_entries(made.workload, entries, settings.dvc_remote)]
    return [release, *(Dataset(f"{made.workload}/tables/{name}", sha256) for name, sha256 in made.tables.items())]
