"""Stage promote releases a winner that the verdict approves, fenced against a newer champion."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from serving.contract.onnx_file import ExternalData, require_self_contained
from tasks.config.run import Run
from tasks.core.errors import IntegrityError
from tasks.core.files import RUN_FILE, read_json, write_json
from tasks.releases import manifest
from tasks.releases.ledger import Entry, Superseded
from tasks.releases.origin import CODE, LOCK, SURROUNDINGS, code_digests
from tasks.releases.signing import load_keys
from tasks.releases.standing import pinned_by, withdrawn
from tasks.releases.store import INPUT_EXAMPLE, MODEL, PROFILE, ReleaseStore
from tasks.reporting.card import model_card
from tasks.stages.context import Context
from tasks.tracking.mlmodel import mlmodel


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/promotion/outcome.json. A rejected, unchanged, held or superseded candidate is no error."""
    verdict = read_json(ctx.artifacts / "evaluation" / "verdict.json")
    outcome = {"entry": None, "release": None, "candidate": verdict["winner"], "model_sha256": verdict["winner_sha256"]}
    outcome |= _promote(ctx, verdict)
    write_json(ctx.artifacts / "promotion" / "outcome.json", outcome)
    ctx.summary("promote", outcome)


def _promote(ctx: Context, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome of the verdict. It may not depend on the clock or the run_id: it enters a lock."""
    if verdict["verdict"] != "promote":
        return {"outcome": "rejected", "reason": verdict["reason"]}
    model = _judged_model(ctx, verdict)
    expected = ctx.run.champion
    keys = load_keys(ctx.settings.signing_key, ctx.settings.trusted_keys)
    releases = ReleaseStore(ctx.settings.releases(), ctx.run.workload, keys)
    known = [entry for entry in releases.ledger.entries() if entry.seq <= expected]
    answer = ctx.run.answer and ctx.run.answer.of(verdict["winner_sha256"])
    if stays := _champion_stays(known, model, verdict, over_pin=answer.pin if answer else 0):
        return stays
    if waits := _not_yet(ctx.run.model_copy(update={"answer": answer}), verdict, releases.ledger.get(expected + 1)):
        return waits
    shown = answer.shadow if answer else ""
    try:
        entry = releases.publish(
            _files(ctx, verdict, model),
            expected=expected,
            run_id=ctx.run_id,
            as_of=ctx.run.as_of,
            reason="; ".join(filter(None, (verdict["reason"], shown))),
            approved=(answer.by, answer.reason) if answer else ("", ""),
            over_pin=answer.pin if answer else 0,
        )
    except Superseded:
        taken = releases.ledger.get(expected + 1)
        mine = ("promote", ctx.run_id, verdict["winner_sha256"])
        if taken is None or (taken.kind, taken.run_id, taken.model_sha256) != mine:
            return {"outcome": "superseded", "reason": _overtaken(taken, expected + 1)}
        entry = taken  # this very candidate, approved twice at once
    approved = f"approved by {entry.approved_by}: {entry.approved_why}" if entry.approved_by else ""
    said = "; ".join(filter(None, (entry.reason, approved)))
    return {"outcome": "promoted", "reason": said, "entry": entry.seq, "release": entry.release}


def _not_yet(run: Run, verdict: Mapping[str, Any], taken: Entry | None) -> dict[str, Any] | None:
    """Return why a candidate that the ledger lets pass is not released now; None if it is.

    `taken`: the ledger entry that it wants, if that was written. Raises the errors of `_not_approved`.
    """
    if run.dry_run:
        return {"outcome": "dry-run", "reason": f"would be released: {verdict['reason']}"}
    if run.answer is None or not run.answer.waits:
        return _not_approved(run, verdict)
    if taken:
        return {"outcome": "superseded", "reason": f"{_overtaken(taken, taken.seq)}; {run.answer.reason}"}
    return {"outcome": "held", "reason": f"{verdict['reason']}; {run.answer.reason}", "shadow": run.answer.waits}


def _not_approved(run: Run, verdict: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return why a passing candidate is not released though nothing else is in its way; None if nothing is.

    Raises IntegrityError on an approval of somebody who may not give it.
    """
    answer, asked = run.answer, run.approval
    if answer is None:
        if asked is None:
            return None
        return {"outcome": "held", "reason": f"waits for the approval of {' or '.join(asked.by)}; {verdict['reason']}"}
    if answer.decision == "approve":
        if asked and answer.by not in asked.by:
            raise IntegrityError(
                f"{RUN_FILE}: answer.by: {answer.by!r} may not approve; approval.by names {', '.join(asked.by)}"
            )
        return None
    outcome = "held" if answer.decision == "hold" else "rejected"
    return {"outcome": outcome, "reason": f"{answer.by}: {answer.reason}" if answer.by else answer.reason}


def _champion_stays(
    known: Sequence[Entry], model: bytes, verdict: Mapping[str, Any], *, over_pin: int
) -> dict[str, Any] | None:
    """Return why a passing candidate is not to be released, judged by the entries up to the one compared with.

    `over_pin`: the entry whose pin is no reason, because somebody approved the candidate in spite of it; 0 for none.
    """
    if known and known[-1].model_sha256 == manifest.sha256(model):
        return {
            "outcome": "unchanged",
            "reason": f"the winner's bytes are those of the champion, entry {known[-1].seq}",
        }
    if rollback := withdrawn(known).get(manifest.sha256(model)):
        reason = f"these bytes were rolled back by ledger entry {rollback.seq} ({rollback.reason})"
        return {"outcome": "rejected", "reason": reason}
    pin = pinned_by(known)  # a later one is met at the fence
    if pin and pin.seq != over_pin:
        reason = f"release {pin.release} is pinned by ledger entry {pin.seq} ({pin.reason}); {verdict['reason']}"
        return {"outcome": "held", "reason": reason}
    return None


def _overtaken(taken: Entry | None, seq: int) -> str:
    """Tell who wrote the entry that this run wanted."""
    if taken is None or taken.kind == "promote":
        return f"another run wrote ledger entry {seq} meanwhile; a new run can compare with that champion"
    return f"ledger entry {seq}, a {taken.kind} ({taken.reason}), was written meanwhile; a new run can compare with it"


def _judged_model(ctx: Context, verdict: Mapping[str, Any]) -> bytes:
    """Return the winner's bytes. Raises IntegrityError if they, or the champion, are not those of the verdict."""
    path = ctx.candidates / verdict["winner"] / MODEL
    model: bytes = path.read_bytes()
    if manifest.sha256(model) != verdict["winner_sha256"]:
        raise IntegrityError(f"{path}: not the bytes that evaluation judged; run the evaluate stage again")
    try:
        require_self_contained(model)
    except ExternalData as error:
        raise IntegrityError(f"{path}: {error}") from error
    except ValueError:
        pass  # whether it runs, evaluation has judged
    if verdict["champion"] != ctx.run.champion:
        raise IntegrityError(
            f"verdict.json: compared with ledger entry {verdict['champion']}, but {RUN_FILE} says {ctx.run.champion}; "
            "run the evaluate stage again"
        )
    return model


def _files(ctx: Context, verdict: Mapping[str, Any], model: bytes) -> dict[str, bytes]:
    """Return all files of the release by name. A retry makes the same bytes."""
    contract = ctx.artifacts / "features" / "contract.json"
    snapshot = ctx.artifacts / "snapshot" / "about.json"
    example = ctx.artifacts / "evaluation" / INPUT_EXAMPLE
    lineage = {
        "workload": ctx.run.workload,
        "run": ctx.run_id,
        "as of": str(ctx.run.as_of),
        "compared with ledger entry": str(ctx.run.champion or "none"),
        "candidate": verdict["winner"],
        "git commit": os.environ.get("NIGHTSTILL_GIT_COMMIT", ""),
        "model SHA-256": manifest.sha256(model),
        "feature contract SHA-256": manifest.sha256(contract.read_bytes()),
        "snapshot facts SHA-256": manifest.sha256(snapshot.read_bytes()),
    }
    card = model_card(ctx.run, verdict, read_json(snapshot), read_json(contract), lineage)
    files = {
        MODEL: model,
        "MLmodel": mlmodel(model, example=example.is_file()),
        "card.md": card.encode(),
        "contract.json": contract.read_bytes(),
        "run.yaml": ctx.run.to_yaml().encode(),
        "snapshot.json": snapshot.read_bytes(),
        "verdict.json": (ctx.artifacts / "evaluation" / "verdict.json").read_bytes(),
    }
    found = {name: ctx.root / name for name in (LOCK, SURROUNDINGS)}
    found[INPUT_EXAMPLE] = example
    found[PROFILE] = ctx.artifacts / "evaluation" / PROFILE
    files |= {name: path.read_bytes() for name, path in found.items() if path.is_file()}
    assets = ctx.artifacts / "features" / "assets"  # whatever else consumers need, such as the names of items
    files |= {path.name: path.read_bytes() for path in sorted(assets.glob("*"))}
    # After nights in shadow the code of now need not be what the run's stages used.
    after_nights = ctx.run.answer is not None and bool(ctx.run.answer.shadow)
    return files | ({CODE: code_digests(ctx.root, files[LOCK])} if LOCK in files and not after_nights else {})
