"""The facts of a workload's nights: read from result manifests, the watch's reports and the ledger alone."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

from tasks.core.storage import ObjectStore
from tasks.nights.pack import Pack
from tasks.pipeline.handover.manifest import Manifest, run_key
from tasks.releases.ledger import Entry, Ledger
from tasks.releases.standing import pinned_by

READERS = 16
LATE_DATA = "late data"
OPENED = "/run.json"
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Live:
    """Live holds what the watch said on one evening. `error`: the champion's, over its days of truth.

    `releases`: the numbers of each release over all its rows, as in the watch's report.
    """

    outcome: str
    reason: str
    champion: int
    error: float | None = None
    rows: int = 0
    releases: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Night:
    """A Night is one run, as far as it came. Numbers are None where it did not come so far.

    `outcome`: promoted, rejected, unchanged, superseded, held, dry-run, stopped, or open while neither is known.
    `interval`: of the candidate's error, from the paired comparison with the champion, or the naive baseline without
    one. `seconds`: by stage, members of a stage together. `memory_mb`: peak by stage, of its largest member.
    `thousand`: estimated joules of a thousand predictions, by candidate, teacher and champion.
    `joules`: by stage; `energy`: measured, or estimated if any of it is, empty where it is not known.
    `margins`: by gate, how far its number is on the right side of its limit; negative where it refused. `page`: key of
    its report, empty if there is none. `shadow`: `waits` if its candidate's nights in shadow are not over.
    """

    run_id: str
    as_of: date
    created: str
    outcome: str
    reason: str = ""
    metric: str = "error"
    error: float | None = None
    champion: float | None = None
    naive: float | None = None
    interval: Interval = None
    size: int | None = None
    weights: int | None = None
    latency_ratio: float | None = None
    drift: float | None = None
    drift_line: str = ""
    rows: int | None = None
    failed_rules: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory_mb: Mapping[str, float] = field(default_factory=dict)
    joules: Mapping[str, float] = field(default_factory=dict)
    energy: str = ""
    margins: Mapping[str, float] = field(default_factory=dict)
    release: int | None = None
    page: str = ""
    live: Live | None = None
    shadow: str = ""
    thousand: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Nights:
    """Nights are the last ones of a workload, oldest first.

    `entries`: of its ledger. `late_data`: what operations were told of data that did not come, until a night went well,
    or found its data valid.
    `shadow`: who is in shadow.
    """

    workload: str
    nights: Sequence[Night]
    entries: Sequence[Entry]
    late_data: str = ""
    shadow: str = ""

    @property
    def champion(self) -> Entry | None:
        """Return the ledger's last entry."""
        return self.entries[-1] if self.entries else None

    @property
    def pinned(self) -> bool:
        """Return whether the champion is pinned."""
        return pinned_by(self.entries) is not None


def collect(runs: ObjectStore, releases: ObjectStore, workload: str, last: int, *, pack: bool = False) -> Nights:
    """Read the last `last` nights: one listing for each run there is.

    Documents that are as they were come from one packed object, others cost a read each: run.json of each run, the
    manifests and the watch's report of those shown. `pack`: write that object. Of the trouble that operations were told
    of, what is not over is read too.
    """
    packed = Pack(runs, f"nights/{workload}.pack")
    with ThreadPoolExecutor(READERS) as pool:
        ids = runs.names(f"runs/{workload}")
        files = dict(zip(ids, pool.map(lambda run: _files(runs, run_key(workload, run)), ids), strict=True))
        opened = {key: stamp for some in files.values() for key, stamp in some.items() if key.endswith(OPENED)}
        infos = [found for found in pool.map(partial(_json, packed), opened, opened.values()) if found]
        shown = sorted(infos, key=lambda info: (info["created"], info["run_id"]))[-last:]
        names = [_manifests(files.get(info["run_id"], {})) for info in shown]
        stamps = {key: stamp for some in names for key, stamp in some.items()}
        manifests = dict(zip(stamps, pool.map(partial(_manifest, packed), stamps, stamps.values()), strict=True))
        evenings = {name.removesuffix(".json"): stamp for name, stamp in runs.stamps(f"watch/{workload}").items()}
        days = sorted({info["as_of"] for info in shown} & evenings.keys())
        troubles = pool.map(lambda name: _json(runs, f"{_open(workload)}/{name}"), runs.names(_open(workload)))
        late = [one for one in troubles if one and one.get("event") == LATE_DATA]
        reports = pool.map(lambda day: _json(packed, f"watch/{workload}/{day}.json", evenings[day]), days)
        live = dict(zip(days, reports, strict=True))
    if pack:
        there = {*ids, *evenings}
        packed.keep(lambda key: key.split("/")[2].removesuffix(".json") in there)
    nights = [
        _night(workload, info, [found for key in some if (found := manifests[key])], live.get(info["as_of"]))
        for info, some in zip(shown, names, strict=True)
    ]
    # Who recovers says so when a whole run went well; data that were found valid since then had come before.
    came = max(
        (one.started for one in manifests.values() if one and one.stage == "validate" and one.finished), default=""
    )
    told = [one["text"] for one in late if str(one.get("time") or came) >= came]
    return Nights(workload, nights, Ledger(releases, workload).entries(), max(told, default=""))


def workloads(runs: ObjectStore) -> list[str]:
    """Return the workloads that have runs, or of which operations were told something."""
    return sorted({*runs.names("runs"), *runs.names("notify")})


def _open(workload: str) -> str:
    return f"notify/{workload}/open"


def _files(runs: ObjectStore, folder: str) -> dict[str, str]:
    """Return the keys of a run's own documents with their stamps."""
    return {f"{folder}/{name}": stamp for name, stamp in runs.stamps(folder).items() if name.endswith(".json")}


def _manifests(files: Mapping[str, str]) -> dict[str, str]:
    """Return the manifests among a run's documents; those of failed attempts last."""
    order = sorted(files, key=lambda key: (key.endswith(".failed.json"), key))
    return {key: files[key] for key in order if not key.endswith(OPENED)}


def _json(store: ObjectStore | Pack, key: str, *stamp: str) -> dict[str, Any] | None:
    try:
        found = json.loads(store.read(key, *stamp))
    except (KeyError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _manifest(packed: Pack, key: str, stamp: str) -> Manifest | None:
    try:
        return Manifest.model_validate_json(packed.read(key, stamp))
    except (KeyError, ValueError):  # one lost file must not hide all nights
        return None


def _night(
    workload: str, info: Mapping[str, Any], manifests: Sequence[Manifest], live: Mapping[str, Any] | None
) -> Night:
    stages: dict[str, Manifest] = {}
    for manifest in manifests:
        stages.setdefault(manifest.stage, manifest)
    told = {name: stages[name].summary for name in stages}
    evaluated, promoted = told.get("evaluate", {}), told.get("promote", {})
    failed = sorted((one for one in stages.values() if one.status == "failed"), key=lambda one: one.started)
    seconds: dict[str, float] = defaultdict(float)
    memory: dict[str, float] = defaultdict(float)
    joules: dict[str, float] = defaultdict(float)
    for manifest in sorted(stages.values(), key=lambda one: one.started):  # in the order of the pipeline
        kind = manifest.stage.partition("@")[0]
        seconds[kind] += manifest.seconds
        memory[kind] = max(memory[kind], manifest.peak_memory_mb)
        if manifest.energy:
            joules[kind] += manifest.joules
    outcome = promoted.get("outcome") or ("stopped" if failed else "open")
    reason = promoted.get("reason") or (f"{failed[0].stage}: {failed[0].error}" if failed else "")
    report = stages.get("report")
    return Night(
        run_id=info["run_id"],
        as_of=date.fromisoformat(info["as_of"]),
        created=info["created"],
        outcome=outcome,
        reason=reason,
        metric=evaluated.get("primary_metric", "error"),
        error=evaluated.get("error"),
        champion=evaluated.get("champion_error"),
        naive=evaluated.get("naive_error"),
        interval=_interval(evaluated),
        size=evaluated.get("bytes"),
        weights=evaluated.get("weights"),
        latency_ratio=evaluated.get("latency_ratio"),
        drift=evaluated.get("drift_psi"),
        drift_line=evaluated.get("drift") or "",
        rows=told.get("snapshot", {}).get("rows"),
        failed_rules=told.get("validate", {}).get("failed"),
        seconds=dict(seconds),
        memory_mb=dict(memory),
        joules=dict(joules),
        energy=min((one.energy for one in stages.values() if one.energy), default=""),  # estimated, if any is
        margins=_margins(evaluated.get("gates", ())),
        release=promoted.get("release"),
        page=run_key(workload, info["run_id"], "pages", "report", "report.html") if report and report.pages_uri else "",
        live=_live(live),
        shadow=str(promoted.get("shadow", "")),
        thousand=told.get("report", {}).get("joules_per_thousand", {}),
    )


def _margins(gates: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the least margin of each gate that measured something."""
    found: dict[str, float] = {}
    for gate in gates:
        if gate["observed"] is not None and gate["limit"] is not None:
            margin = abs(gate["limit"] - gate["observed"]) * (1 if gate["passed"] else -1)
            found[gate["gate"]] = min(margin, found.get(gate["gate"], margin))
    return found


def _interval(evaluated: Mapping[str, Any]) -> Interval:
    """Return the interval of the candidate's error: an opponent's error times the relative interval to it."""
    for name in ("champion", "naive"):
        error, relative = evaluated.get(f"{name}_error"), evaluated.get(f"against_{name}")
        if error is not None and relative:
            return error * (1 + relative[0]), error * (1 + relative[1])
    return None


def _live(told: Mapping[str, Any] | None) -> Live | None:
    if told is None:
        return None
    releases = [one for one in told["live"] if one["part"] == "all"]
    mine = [one for one in releases if one["release"] == told["champion"]]
    error, rows = (mine[0]["error"], mine[0]["rows"]) if mine else (None, 0)
    return Live(told["outcome"], told["reason"], told["champion"], error, rows, releases)
