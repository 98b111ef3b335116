"""A night ends with this: the champion, or another release, forecasts from raw tables, and the forecasts are kept."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tasks.core.errors import NotYetError
from tasks.core.settings import Settings
from tasks.core.storage import open_store
from tasks.pipeline.handover.datasets import Dataset
from tasks.pipeline.handover.lineage import Attempt, told
from tasks.releases.signing import load_keys
from tasks.releases.store import ReleaseStore
from tasks.scoring.kept import Made, keep
from tasks.scoring.lineage import forecasts_of, read_for
from tasks.scoring.raw import Raw, of_run
from tasks.scoring.scorer import Scorer, to_parquet
from tasks.scoring.shadow import Shadow


@dataclass(frozen=True)
class Forecasts:
    """Forecasts says what is kept: address and SHA-256 of the manifest; `again`: the same bytes were there already.

    `shadow`: what became of those of the candidate in shadow; empty where nobody is.
    """

    uri: str
    sha256: str
    again: bool
    said: str
    shadow: str = ""


def release_store(settings: Settings, workload: str) -> ReleaseStore:
    """Return the workload's releases, as consumers read them: signed by trusted keys, if there are any."""
    return ReleaseStore(settings.releases(), workload, load_keys(trusted_keys=settings.trusted_keys))


def end_night(settings: Settings, workload: str, run_id: str) -> Forecasts:
    """Keep what the champion says of a run's snapshot, whatever became of the run's candidate.

    Raises NotYetError when there is no release or the run's data were not found valid; and as `keep_forecasts` does.
    """
    return keep_forecasts(settings, workload, partial(of_run, settings, workload, run_id), run_id=run_id)


def keep_forecasts(
    settings: Settings, workload: str, read: Callable[[], Raw], *, release: int | None = None, run_id: str = ""
) -> Forecasts:
    """Keep what a release, None for the champion, says of the tables that `read` returns.

    Beside a night's champion, the candidate in shadow says it too, if there is one.

    Raises NotYetError when there is no release yet, UsageError when it is not that one, and what `read`, Scorer and
    `keep` raise.
    """
    releases = release_store(settings, workload)
    if releases.champion() is None:
        raise NotYetError(f"{workload}: no release yet, so nothing to score with")
    entry = releases.release(release)
    scorer = Scorer(releases, workload, entry.release)
    found = read()
    store = open_store(settings.forecasts)
    made = Made.of(workload, entry, found, run_id)
    written: list[Dataset] = []
    read_by_it = partial(read_for, settings, made, releases.url(entry))
    with told(Attempt(workload, run_id, "score"), read_by_it, written):
        content, rows = to_parquet(iter([scorer.score(found.tables, found.as_of)]))
        done = keep(store, content, rows, made)
        uri, sha256 = store.url(done.key), hashlib.sha256(content).hexdigest()
        written.append(forecasts_of(workload, f"{uri.removesuffix('.json')}.parquet", sha256, len(content)))
    said = "kept before, the same bytes" if done.again else "kept"
    nightly = release is None and run_id
    shadow = Shadow(settings, workload, releases.ledger.entries()).keep(found, run_id) if nightly else ""
    return Forecasts(
        uri=uri,
        sha256=hashlib.sha256(store.read(done.key)).hexdigest(),
        again=done.again,
        said=f"{uri}: {rows:,} rows of release {entry.release}, as of {found.as_of}: {said}",
        shadow=shadow,
    )
