"""Stage promote: release the winner if the verdict says so, fenced against a newer champion."""

import os
from collections.abc import Mapping
from typing import Any

from tasks.config import RUN_FILE
from tasks.errors import IntegrityError
from tasks.releases import manifest
from tasks.releases.card import model_card
from tasks.releases.ledger import Superseded, withdrawn_by
from tasks.releases.store import MODEL, ReleaseStore
from tasks.stages.context import Context, read_json, write_json

# Lets `mlflow.onnx.load_model("models:/nightstill-<workload>@champion")` open a release's folder.
MLMODEL = b"""flavors:
  onnx: {data: model.onnx, code: null, providers: [CPUExecutionProvider]}
  python_function: {loader_module: mlflow.onnx, data: model.onnx}
"""


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/promotion/outcome.json. A rejected, unchanged or superseded candidate is no error."""
    verdict = read_json(ctx.artifacts / "evaluation" / "verdict.json")
    outcome = {"entry": None, "release": None, "candidate": verdict["winner"], "model_sha256": verdict["winner_sha256"]}
    outcome |= _promote(ctx, verdict)
    write_json(ctx.artifacts / "promotion" / "outcome.json", outcome)
    ctx.summary("promote", outcome)


def _promote(ctx: Context, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the verdict. Nothing of it may depend on the clock or the run_id: it enters a lock."""
    if verdict["verdict"] != "promote":
        return {"outcome": "rejected", "reason": verdict["reason"]}
    model = _judged_model(ctx, verdict)
    expected = ctx.run.champion
    releases = ReleaseStore(ctx.settings.releases(), ctx.run.workload)
    known = [entry for entry in releases.ledger.entries() if entry.seq <= expected]
    if known and known[-1].model_sha256 == manifest.sha256(model):
        return {"outcome": "unchanged", "reason": f"the winner's bytes are those of the champion, entry {expected}"}
    if rollback := withdrawn_by(known, manifest.sha256(model)):
        reason = f"these bytes were rolled back by ledger entry {rollback.seq} ({rollback.reason})"
        return {"outcome": "rejected", "reason": reason}
    if ctx.run.dry_run:
        return {"outcome": "dry-run", "reason": f"would be released: {verdict['reason']}"}
    try:
        entry = releases.publish(
            _files(ctx, verdict, model),
            expected=expected,
            run_id=ctx.run_id,
            as_of=ctx.run.as_of,
            reason=verdict["reason"],
        )
    except Superseded:
        reason = f"another run wrote ledger entry {expected + 1} meanwhile; a new run can compare with that champion"
        return {"outcome": "superseded", "reason": reason}
    return {"outcome": "promoted", "reason": entry.reason, "entry": entry.seq, "release": entry.release}


def _judged_model(ctx: Context, verdict: Mapping[str, Any]) -> bytes:
    """The winner's bytes. Raises IntegrityError if they, or the champion, are not those of the verdict."""
    path = ctx.artifacts / "candidates" / verdict["winner"] / MODEL
    model: bytes = path.read_bytes()
    if manifest.sha256(model) != verdict["winner_sha256"]:
        raise IntegrityError(f"{path}: not the bytes that evaluation judged; run the evaluate stage again")
    if verdict["champion"] != ctx.run.champion:
        raise IntegrityError(
            f"verdict.json: compared with ledger entry {verdict['champion']}, but {RUN_FILE} says {ctx.run.champion}; "
            "run the evaluate stage again"
        )
    return model


def _files(ctx: Context, verdict: Mapping[str, Any], model: bytes) -> dict[str, bytes]:
    """All files of the release by name. A retry makes the same bytes."""
    contract = ctx.artifacts / "features" / "contract.json"
    snapshot = ctx.artifacts / "snapshot" / "about.json"
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
        "MLmodel": MLMODEL,
        "card.md": card.encode(),
        "contract.json": contract.read_bytes(),
        "run.yaml": ctx.run.to_yaml().encode(),
        "snapshot.json": snapshot.read_bytes(),
        "verdict.json": (ctx.artifacts / "evaluation" / "verdict.json").read_bytes(),
    }
    lock = ctx.root / "dvc.lock"
    return files | ({"dvc.lock": lock.read_bytes()} if lock.is_file() else {})
