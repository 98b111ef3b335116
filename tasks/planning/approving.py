"""Somebody approves a candidate that is held: its run is brought to its end once more, with that answer."""

from collections.abc import Mapping
from typing import Any

from tasks.config.run import Run, parse_run
from tasks.core.approval import Answer
from tasks.core.errors import IntegrityError, UsageError
from tasks.core.settings import Settings
from tasks.pipeline.handover.run_stage import run_stage
from tasks.pipeline.handover.run_store import RunStore
from tasks.releases.ledger import Entry, Ledger, Superseded
from tasks.releases.standing import pinned_by


def approve(settings: Settings, workload: str, run_id: str, by: str, reason: str) -> Entry:
    """Release the candidate of a run that ended as held; in spite of the champion's pin, if that is what held it.

    Doing it again returns the entry that is there. Raises UsageError when `by` is not among those who may, or the run
    has no candidate that is held; Superseded when the ledger went on since the candidate was compared.
    """
    store, ledger = RunStore(settings.runs()), Ledger(settings.releases(), workload)
    run = parse_run(store.run_yaml(workload, run_id))
    _refuse_stranger(run, by)
    entries = ledger.entries()
    outcome = _outcome(store, workload, run_id)
    if outcome["outcome"] == "promoted":
        return _entry(ledger, outcome)
    if outcome["outcome"] != "held":
        raise UsageError(
            f"run {run_id}: ended as {outcome['outcome']} ({outcome['reason']}); only a candidate that is held can be "
            "approved"
        )
    since = entries[run.champion :]
    ours = bool(since) and (since[0].kind, since[0].run_id) == ("promote", run_id)
    if since and not ours:
        last = entries[-1]
        raise Superseded(
            f"{workload}: ledger entry {last.seq}, a {last.kind} ({last.reason}), was written since run {run_id} "
            f"compared with entry {run.champion or 'none'}; let a new night compare with that champion"
        )
    if not ours:  # else an approval ended after its ledger entry: its own answer stands
        pin = pinned_by(entries)
        before = run.answer and run.answer.of(str(outcome.get("model_sha256", "")))
        nights = {"shadow": before.shadow, "winner": before.winner} if before else {}
        answer = Answer(decision="approve", by=by, reason=reason, pin=pin.seq if pin else 0, **nights)
        keep_answer(store, workload, run_id, answer)
    outcome = run_stage(settings, workload, run_id, "promote").manifest.summary
    if outcome["outcome"] != "promoted":
        raise Superseded(f"run {run_id}: ended as {outcome['outcome']}: {outcome['reason']}")
    return _entry(ledger, outcome)


def report_again(settings: Settings, workload: str, run_id: str) -> str:
    """Write the run's report once more, now that its candidate is released. Returns why it was not; empty if it was."""
    try:
        run_stage(settings, workload, run_id, "report")
    except Exception as error:  # noqa: BLE001 the release is made, whatever becomes of the page
        return f"the run's report is still that of before ({error}); `nightstill run-stage report` writes it"
    return ""


def keep_answer(store: RunStore, workload: str, run_id: str, answer: Answer) -> None:
    """Write what was decided into run.yaml, in place of any former answer; nothing once the candidate is released."""
    manifest = store.manifest(workload, run_id, "promote")
    if manifest is None or manifest.summary.get("outcome") != "promoted":
        run = parse_run(store.run_yaml(workload, run_id)).model_copy(update={"answer": answer})
        store.store.write(store.key(workload, run_id, "run.yaml"), run.to_yaml().encode())


def _refuse_stranger(run: Run, by: str) -> None:
    if run.approval and by not in run.approval.by:
        raise UsageError(
            f"--by {by!r:.80}: may not approve; {run.workload}.approval.by names {', '.join(run.approval.by)}"
        )


def _entry(ledger: Ledger, outcome: Mapping[str, Any]) -> Entry:
    found = ledger.get(int(outcome["entry"]))
    if found is None:
        raise IntegrityError(f"{ledger.workload}: no ledger entry {outcome['entry']}, though a promotion names it")
    return found


def _outcome(store: RunStore, workload: str, run_id: str) -> Mapping[str, Any]:
    manifest = store.manifest(workload, run_id, "promote")
    if manifest is None or not manifest.finished:
        raise UsageError(f"run {run_id}: has not come to its promotion, so there is nothing to approve")
    return manifest.summary
