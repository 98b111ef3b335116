"""What a collector of lineage is told of a watch: the forecasts and truth that it reads, the outcomes that it keeps."""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.core.settings import Settings
from tasks.core.storage import open_store
from tasks.pipeline.handover.datasets import Dataset
from tasks.pipeline.handover.lineage import Attempt, told
from tasks.scoring.lineage import forecasts_of
from tasks.scoring.raw import Raw
from tasks.watching.record import ROOT


@contextmanager
def told_of_watch(settings: Settings, workload: str, raw: Raw) -> Iterator[None]:
    """Tell of the watch that the block does. It belongs to no night; its outcomes are those up to a day."""
    store = open_store(settings.forecasts)
    read = [forecasts_of(workload, store.url(workload)), *(Dataset(f"{workload}/tables/{name}") for name in raw.tables)]
    outcomes = Dataset(f"{workload}/outcomes", str(raw.as_of), store.url(f"{ROOT}/{workload}"))
    with told(Attempt(workload, "", "watch"), lambda: read, [outcomes]):
        yield
