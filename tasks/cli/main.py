"""`nightstill` is the one command-line program, for people and for runners.

Exit codes: 0 done · 3 the candidate was rejected (`run` only) · 4 not yet: the data of `fresh` and `score`, or a
release · 64 wrong usage · 65 bad data · 70 internal error · 75 a store or server did not answer, try again ·
76 a digest, lock or release does not hold · 78 wrong configuration.
"""

import hashlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import Abort, TyperException

from tasks.cli.console import console, errors
from tasks.cli.data import check_data, new
from tasks.cli.registry import registry_app
from tasks.cli.release import release_app
from tasks.cli.shadow import shadow
from tasks.core.errors import ConfigError, NightstillError, NotYetError, UsageError
from tasks.core.files import RUN_FILE
from tasks.core.params import find_sections
from tasks.core.redaction import redact, redacted_output
from tasks.core.settings import Settings
from tasks.core.storage import open_store
from tasks.pipeline.graph import GraphError, load_graph
from tasks.pipeline.handover.queries import latest_run, read_verdict
from tasks.pipeline.handover.run_stage import ERROR_FILE, assist_stage, assists
from tasks.pipeline.handover.run_stage import run_stage as bring_to_end
from tasks.pipeline.handover.run_store import RunStore
from tasks.pipeline.handover.workspace import PIPELINE_FILE
from tasks.pipeline.resources import Resources, cores, side_by_side

if TYPE_CHECKING:
    from tasks.config.run import Run
    from tasks.distillation.options import Student, Teacher

REJECTED = 3

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, help=__doc__, pretty_exceptions_enable=False
)
app.add_typer(release_app, name="release")
app.add_typer(registry_app, name="registry")
app.command("new")(new)
app.command("shadow")(shadow)

WorkloadArgument = Annotated[str, typer.Argument(help="A section of params.yaml or workloads/.")]
AsOf = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day of data; default: yesterday in its timezone.")
]
RunId = Annotated[str, typer.Option(help="The run; default: the latest one.")]


def _day(value: datetime | None) -> date | None:
    return value.date() if value else None


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False) -> None:
    if debug:
        os.environ["NIGHTSTILL_DEBUG"] = "1"


@app.command()
def check(
    workload: Annotated[str | None, typer.Argument(help="One section; default: all.")] = None,
    data: Annotated[bool, typer.Option("--data", help="Also fetch and validate the data, and train nothing.")] = False,
    as_of: AsOf = None,
) -> None:
    """Check a workload's parameters without running anything, and its data if asked to."""
    from tasks.config.workload import load_workload, load_workloads
    from tasks.planning import opening as planning
    from tasks.planning.run_all import pipeline
    from tasks.planning.soundness import remarks, require_sound

    if as_of is not None and not data:
        raise UsageError("check: --as-of goes with --data alone")
    settings = Settings()
    if workload is not None:
        workloads = {workload: load_workload(settings.params, workload)}
    else:
        workloads = load_workloads(settings.params)
    files = {name: found.label for name, found in find_sections(settings.params).items()}
    for name, section in workloads.items():
        require_sound(name, section, settings.project, files[name])
        stages = pipeline(settings, planning.resolve(settings, name)).stages
        if unknown := Resources(section.resources).unknown(set(stages)):
            raise ConfigError(f"{files[name]}: workloads.{name}.resources: no stage {', '.join(sorted(unknown))}")
        when = f"{section.schedule} {section.timezone}" if section.schedule else "run by hand"
        console.print(f"{name}: ok — {section.title}; {len(stages)} stages, {when}")
        for remark in remarks(section, stages):
            console.print(f"  {remark}", soft_wrap=True, highlight=False)
        if data:
            check_data(settings, name, section, _day(as_of) or planning.yesterday(section))


@app.command()
def select(workload: WorkloadArgument, as_of: AsOf = None) -> None:
    """Write run.yaml here, so that plain `dvc repro` runs this workload."""
    from tasks.planning import opening as planning

    run = planning.resolve(Settings(), workload, _day(as_of))
    Path(RUN_FILE).write_text(run.to_yaml())
    console.print(f"{RUN_FILE}: {workload} as of {run.as_of}, champion entry {run.champion or 'none'}")


@app.command()
def plan(
    workload: Annotated[str, typer.Option()],
    run_id: Annotated[str, typer.Option()],
    as_of: AsOf = None,
    force: Annotated[bool, typer.Option("--force", help="Run every stage even if nothing changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop short of the release.")] = False,
) -> None:
    """Open a run: fix its date, its champion and its parameters (for runners)."""
    from tasks.planning import opening as planning

    settings = Settings()
    run, fresh = planning.open_run(settings, workload, run_id, _day(as_of), force=force, dry_run=dry_run)
    store = RunStore(settings.runs())
    key = store.key(workload, run_id, "run.yaml")
    said = f"as of {run.as_of}, champion entry {run.champion or 'none'}"
    errors.print(f"run {run_id} of {workload}: {said}" + ("" if fresh else " (open already)"))
    _tell(uri=store.store.url(key), data=store.store.read(key), status="done" if fresh else "finished-before")


@app.command("run-stage")
def run_stage(
    stage: Annotated[str, typer.Argument(help="A stage of dvc.yaml, such as teach@lstm.")],
    workload: Annotated[str, typer.Option()],
    run_id: RunId = "",
    answer: Annotated[str, typer.Option(help="What people decided of the candidate, as JSON (for runners).")] = "",
) -> None:
    """Bring one stage of an open run to its end, in a fresh workspace."""
    from tasks.planning.completion import complete_run

    settings = Settings()
    store = RunStore(settings.runs())
    run_id = run_id or latest_run(store, workload)["run_id"]
    if assists():
        done = assist_stage(settings, workload, run_id, stage)
        errors.print(f"{stage}: " + ("done; the first machine writes it" if done else "nothing to do"))
        return
    if answer:
        from tasks.core.approval import parse_answer
        from tasks.planning.approving import keep_answer

        keep_answer(store, workload, run_id, parse_answer(answer))
    complete_run(settings, workload, run_id)
    outcome = bring_to_end(settings, workload, run_id, stage)
    manifest = outcome.manifest
    key = store.key(workload, run_id, f"{stage}.json")
    status = "finished-before" if outcome.already else manifest.status
    errors.print(f"{stage}: {status} in {manifest.seconds:.1f} s — {manifest.reason}", highlight=False)
    result = {name: manifest.summary[name] for name in ("outcome", "shadow") if name in manifest.summary}
    _tell(uri=store.store.url(key), data=store.store.read(key), status=status, **result)


def _tell(uri: str, data: bytes, status: str, **more: str) -> None:
    """Print the address and digest of `data` for an orchestrator."""
    _told(uri=uri, sha256=hashlib.sha256(data).hexdigest(), status=status, **more)


def _told(**result: str) -> None:
    """Print the last line of standard output, which an orchestrator hands on."""
    print(json.dumps(result), flush=True)


@app.command(hidden=True)
def stage(name: str, member: Annotated[str | None, typer.Argument()] = None) -> None:
    """Run a stage's own command, as in dvc.yaml: it reads and writes the working folder."""
    from tasks.core.files import write_json
    from tasks.stages.context import current

    pages = os.environ.get("NIGHTSTILL_PAGES")

    def tell(error: str, exit_code: int) -> None:
        """Tell why it failed; of several processes the first to fail is the one that knows."""
        if pages and not (Path(pages) / ERROR_FILE).exists():
            write_json(Path(pages) / ERROR_FILE, {"error": redact(error), "exit_code": exit_code})

    try:
        context = current()
        _require_plugins(context.run, f"{name}@{member}" if member else name)
        network = _trained(context.run, name, member)
        if network and network.world > 1:
            from tasks.distillation.processes import launch, started

            if not started():
                launch(network.processes, "tasks", "stage", name, str(member), nodes=network.nodes)
                return
        module = import_module(f"tasks.stages.{name}")
        module.run(context, member)
    except NightstillError as error:
        tell(str(error), error.exit_code)
        raise
    except Exception as error:  # noqa: BLE001 told in full
        tell(f"{type(error).__name__}: {error}", 70)
        traceback.print_exc()
        raise SystemExit(70) from None


def _trained(run: "Run", name: str, member: str | None) -> "Teacher | Student | None":
    """Return the section of the network that a stage trains, if it is one that several processes may train."""
    if name == "teach":
        return run.teachers.get(member or "")
    return run.students.get(member or "") if name == "distil" else None


def _require_plugins(run: "Run", stage: str) -> None:
    """Refuse to run a stage without the packages that it tracks. Raises ConfigError."""
    from tasks.config.plugins import require_installed
    from tasks.pipeline.handover.plugins import named

    variables, found = run.model_dump(mode="json"), Path(PIPELINE_FILE)
    if not named(variables["plugins"]) or not found.is_file():
        return
    stages = load_graph(found.read_text(), variables).stages
    params = stages[stage].params if stage in stages else ()
    tracked = [key.removeprefix("plugins.") for _, key in params if key.startswith("plugins.")]
    require_installed(variables["plugins"], tracked)


@app.command()
def run(
    workload: WorkloadArgument,
    as_of: AsOf = None,
    run_id: Annotated[str, typer.Option(help="Default: made from the date and the time.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Stages side by side.")] = 2,
    force: Annotated[bool, typer.Option("--force", help="Run every stage even if nothing changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop short of the release.")] = False,
) -> None:
    """Run a workload once, without Airflow, through the same hand-over; in the end the champion forecasts."""
    from tasks.cli import display
    from tasks.config.workload import load_workload
    from tasks.planning import opening as planning
    from tasks.planning.run_all import pipeline, run_all
    from tasks.scoring.night import end_night

    settings = Settings()
    section = load_workload(settings.params, workload)
    run_id = run_id or planning.new_run_id(_day(as_of) or planning.yesterday(section))
    asked, _ = planning.open_run(settings, workload, run_id, _day(as_of), force=force, dry_run=dry_run)
    total, wanted, processes = len(pipeline(settings, asked).stages), jobs, Resources(section.resources).processes
    jobs = side_by_side(jobs, section.threads, processes)
    if jobs < wanted:
        each = f"{section.threads} threads" if processes == 1 else f"{processes} processes of {section.threads} threads"
        console.print(f"stages side by side: {jobs} instead of {wanted}, of {each} on {cores()} cores")
    console.print(f"run {run_id}: {workload} as of {asked.as_of}, {total} stages, logs in {settings.home / 'logs'}")
    try:
        with display.progress(console, total) as observe:
            codes = run_all(settings, asked, run_id, jobs=jobs, observe=observe)
    except (KeyboardInterrupt, SystemExit):
        errors.print(
            f"stopped, with its stages; to go on: nightstill run {workload} --run-id {run_id}", highlight=False
        )
        raise
    display.show_run(console, settings, workload, run_id)
    failed = [code for code in codes.values() if code > 0]
    try:
        made = end_night(settings, workload, run_id)
        console.print(f"Forecasts {made.said}", soft_wrap=True, highlight=False)
        if made.shadow:
            console.print(f"Shadow    {made.shadow}", soft_wrap=True, highlight=False)
    except NotYetError as error:
        console.print(f"Forecasts none: {error}", soft_wrap=True, highlight=False)
    except NightstillError as error:
        errors.print(f"error: {error}", highlight=False)
        failed.append(error.exit_code)
    verdict = read_verdict(settings, workload, run_id)
    raise SystemExit(failed[0] if failed else REJECTED if verdict and verdict["verdict"] == "reject" else 0)


@app.command()
def show(
    workload: WorkloadArgument,
    run_id: RunId = "",
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs.")] = False,
) -> None:
    """Show a run: verdict, gates, errors side by side, stages, and where its pages are."""
    from tasks.cli import display

    settings = Settings()
    store = RunStore(settings.runs())
    if list_runs:
        display.list_runs(console, settings, workload)
    else:
        display.show_run(console, settings, workload, run_id or latest_run(store, workload)["run_id"])


@app.command()
def explain(
    workload: WorkloadArgument, stage: Annotated[str | None, typer.Argument()] = None, run_id: RunId = ""
) -> None:
    """Say why each stage of a run ran, or whose result was reused."""
    settings = Settings()
    store = RunStore(settings.runs())
    manifests = store.manifests(workload, run_id or latest_run(store, workload)["run_id"])
    if stage is not None and stage not in manifests:
        raise UsageError(f"{stage}: did nothing in this run; it has: {', '.join(manifests) or 'no stage yet'}")
    for name, manifest in manifests.items():
        if stage in (None, name):
            reason = manifest.reason or f"failed with exit code {manifest.exit_code}: {manifest.error}"
            console.print(f"{name}: {reason}", highlight=False)


@app.command()
def score(
    workload: WorkloadArgument,
    out: Annotated[str, typer.Option(help="Parquet file to write: a path, or s3://bucket/key.")] = "",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep them with a manifest below NIGHTSTILL_FORECASTS, never replaced.")
    ] = False,
    as_of: AsOf = None,
    run_id: Annotated[str, typer.Option(help="Score this run's snapshot, not the source.")] = "",
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Parquet or CSV file, or folder of images; NAME=FILE of several; default: the workload's source."
        ),
    ] = None,
    release: Annotated[int | None, typer.Option(help="A release's number; default: the champion.")] = None,
) -> None:
    """Score raw tables with the champion into Parquet: into one file, or among the forecasts that are kept."""
    from tasks.cli.source import complete_tables, contracts_of, source_of
    from tasks.config.workload import load_workload
    from tasks.planning import opening as planning
    from tasks.scoring import raw
    from tasks.scoring.night import keep_forecasts, release_store
    from tasks.scoring.scorer import Scorer, to_parquet
    from tasks.tables.sources.files import read_files

    if bool(out) == keep:
        raise UsageError("score: say either --out FILE or --keep")
    if (table and (run_id or keep)) or (run_id and as_of):
        raise UsageError("score: --run-id goes with neither --as-of nor --table, and --keep takes no --table")
    settings = Settings()
    section = load_workload(settings.params, workload)
    day = _day(as_of) or planning.yesterday(section)
    contracts = contracts_of(section)

    def read() -> raw.Raw:
        if run_id:
            return raw.of_run(settings, workload, run_id)
        if keep:
            return complete_tables(settings, workload, section, day)
        return raw.of_source(source_of(settings, workload, section), day)

    if keep:
        made = keep_forecasts(settings, workload, read, release=release, run_id=run_id)
        errors.print(made.said)
        if made.shadow:
            errors.print(made.shadow, soft_wrap=True, highlight=False)
        _told(uri=made.uri, sha256=made.sha256, status="finished-before" if made.again else "done")
        return
    scorer = Scorer(release_store(settings, workload), workload, release)
    if table:
        parts = scorer.stream(read_files(table, contracts, section.source, settings.project), day)
    else:
        found = read()
        day, parts = found.as_of, iter([scorer.score(found.tables, found.as_of)])
    content, rows = to_parquet(parts)
    place, _, name = out.rpartition("/")
    open_store(place or ".").write(name, content)
    console.print(f"{out}: {rows:,} rows, as of {day}")


@app.command()
def watch(
    workload: WorkloadArgument,
    as_of: AsOf = None,
    run_id: Annotated[str, typer.Option(help="Take the truth from this run's snapshot, not from the source.")] = "",
) -> None:
    """Compare kept forecasts with what came of them, and act on a regression as the section `watch` says."""
    from tasks.cli import after
    from tasks.cli.source import complete_tables
    from tasks.config.workload import load_workload
    from tasks.planning import opening as planning
    from tasks.scoring import raw
    from tasks.watching.evening import report_key
    from tasks.watching.evening import watch as look
    from tasks.watching.lineage import told_of_watch

    if run_id and as_of:
        raise UsageError("watch: --run-id goes without --as-of")
    settings = Settings()
    section = load_workload(settings.params, workload)
    if run_id:
        found = raw.of_run(settings, workload, run_id)
    else:
        found = complete_tables(settings, workload, section, _day(as_of) or planning.yesterday(section))
    with told_of_watch(settings, workload, found):
        evening = look(settings, workload, found, section.watch)
    after.show_evening(console, evening)
    after.tell_mlflow(settings, evening)
    runs, key = settings.runs(), report_key(workload, evening.until)
    report = runs.read(key)  # it may be of an earlier look, which acted
    _tell(runs.url(key), report, "done", **json.loads(report)["summary"])


@app.command()
def nights(
    workload: Annotated[str | None, typer.Argument(help="One workload; default: how each of them stands.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many nights.")] = 30,
    page: Annotated[bool, typer.Option("--page", help="Write the pages into the run store, too.")] = False,
    metrics: Annotated[
        Path | None, typer.Option(help="Write the last nights' numbers here, in Prometheus' text format.")
    ] = None,
) -> None:
    """Show the last nights side by side, from manifests and the ledger; without a workload, an overview of all."""
    from tasks.cli import after
    from tasks.nights import collect
    from tasks.nights import numbers as figures
    from tasks.nights import page as pages
    from tasks.nights.shadow import with_shadow
    from tasks.nights.standing import standing

    settings = Settings()
    runs, releases = settings.runs(), settings.releases()
    sections, today = find_sections(settings.params), datetime.now(UTC).date()
    if workload is not None and workload not in sections:
        raise UsageError(f"no workload {workload!r}; there are: {', '.join(sorted(sections))}")
    # The overview needs all; a workload's own page is one of those that it leads to.
    ran = {*sections} & {*collect.workloads(runs)} if workload is None or page or metrics else set()
    names = sorted(ran | ({workload} if workload else set()))
    found, points = [], []
    for name in names:
        asked = sections[name].section.get("shadow_nights")
        some = with_shadow(collect.collect(runs, releases, name, last, pack=page), runs, settings.forecasts, asked)
        scheduled = isinstance(sections[name].section.get("schedule"), str)
        found.append((some, standing(some, today, scheduled=scheduled)))
        points += figures.numbers(some, scheduled=scheduled)
    if workload is None:
        after.show_overview(console, found)
    for some, how in found:
        if some.workload == workload:
            after.show_nights(console, some, how)
        if page and workload in (None, some.workload):
            pages.write(runs, some.workload, pages.render(some, how))
    if page:
        console.print(
            f"Pages    {pages.write(runs, '', pages.render_overview(found))}", soft_wrap=True, highlight=False
        )
        if lost := figures.send(points):
            errors.print(lost, highlight=False)
    if metrics:
        figures.write(metrics, points)


@app.command()
def tidy(
    keep_nights: Annotated[int, typer.Option(min=1, help="How many of the newest nights of each workload stay.")] = 90,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; without this, only say what would go.")] = False,
) -> None:
    """Remove what old nights left: runs, index, checkpoints, forecasts, data. What a release needs stays."""
    from tasks.cli import after
    from tasks.retention.tidy import Tidy

    tidying = Tidy(Settings(), keep_nights)
    after.show_tidying(console, tidying.remove() if remove else tidying.what_goes(), removed=remove)


@app.command()
def fresh(workload: WorkloadArgument, as_of: AsOf = None) -> None:
    """Check whether the source's data reach up to a day, and nothing else; exit code 4: not yet."""
    from tasks.cli.source import contracts_of, source_of
    from tasks.config.workload import load_workload
    from tasks.planning import opening as planning
    from tasks.tables.validation.freshness import missing

    settings = Settings()
    section = load_workload(settings.params, workload)
    day = _day(as_of) or planning.yesterday(section)
    snapshot = source_of(settings, workload, section).fetch(day)
    if reason := missing(snapshot, contracts_of(section), section.checks, day):
        raise NotYetError(reason)
    console.print(f"{workload}: the data reach up to {day}")


def main(arguments: list[str] | None = None) -> None:
    """Run the program; a failure is one line on standard error and a documented exit code."""
    # Before a library starts its threads: waiting ones otherwise take the cores from those that compute.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with redacted_output(), _ended_in_order():
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        for library in ("great_expectations", "alembic", "mlflow"):
            logging.getLogger(library).setLevel(logging.WARNING)
        raise SystemExit(_guarded(lambda: app(arguments, standalone_mode=False)))


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """End the program on SIGTERM and SIGHUP as on Ctrl-C, through every `finally`, so that nothing is left behind."""

    def end(number: int, _frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # once is enough
        raise SystemExit(128 + number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _guarded(command: Callable[[], Any]) -> int:
    try:
        result = command()
    except NightstillError as error:
        if os.environ.get("NIGHTSTILL_DEBUG"):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except GraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 78
    except TyperException as error:
        print(f"error: {error.format_message()} (see --help)", file=sys.stderr)
        return 64
    except Abort:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 told in full
        traceback.print_exc()
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 70
    return result if isinstance(result, int) else 0
