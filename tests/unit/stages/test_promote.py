"""What the promote stage makes of a verdict and a ledger."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.errors import IntegrityError
from tasks.core.files import write_json
from tasks.core.settings import Settings
from tasks.releases.pins import pin, unpin
from tasks.releases.pruning import prune
from tasks.releases.signing import generate, load_keys
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify
from tasks.stages import promote
from tasks.stages.context import Context

PROJECT = Path(__file__).parents[3]


class Night:
    """A workspace just before promotion."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = Settings(home=root / "home", project=PROJECT)
        self.releases = ReleaseStore(self.settings.releases(), "sales")
        self.section = dict(load_workload(PROJECT / "params.yaml", "sales"))

    def promote(
        self, model: str = "one", *, champion: int = 0, run_id: str = "r1", dry_run: bool = False, **verdict: Any
    ) -> dict[str, Any]:
        context = self.prepare(model, champion=champion, run_id=run_id, dry_run=dry_run, **verdict)
        promote.run(context)
        outcome: dict[str, Any] = json.loads((context.artifacts / "promotion" / "outcome.json").read_text())
        assert json.loads((context.pages / "promote.summary.json").read_text()) == outcome
        return outcome

    def prepare(self, model: str, *, champion: int, run_id: str, dry_run: bool = False, **verdict: Any) -> Context:
        run = Run(**self.section, workload="sales", as_of=date(2026, 1, 1), champion=champion, dry_run=dry_run)
        root = self.root / run_id
        context = Context(run, self.settings, root, root / "pages", run_id=run_id)
        recipe = root / "artifacts" / "candidates" / "fp16"
        recipe.mkdir(parents=True, exist_ok=True)
        (recipe / "model.onnx").write_text(model)
        write_json(root / "artifacts" / "evaluation" / "verdict.json", {**self.verdict(model, champion), **verdict})
        contract = {
            "problem": "forecasting",
            "inputs": {"x": ["float32", [56, 3]]},
            "order": ["x"],
            "output_shape": [28, 3],
        }
        write_json(root / "artifacts" / "features" / "contract.json", contract)
        about = {"source": "complete-journey", "rows": 100, "entities": 4, "shift_weeks": 470, "notes": ["simulated"]}
        write_json(root / "artifacts" / "snapshot" / "about.json", about)
        return context

    @staticmethod
    def verdict(model: str, champion: int) -> Mapping[str, Any]:
        rule = {
            "gate": "size",
            "candidate": "fp16",
            "passed": True,
            "observed": 3,
            "limit": 9,
            "rule": "a|b",
            "note": "",
        }
        return {
            "verdict": "promote",
            "winner": "fp16",
            "winner_sha256": sha256(model.encode()).hexdigest(),
            "reason": "fp16 passes all 1 gates",
            "champion": champion,
            "primary_metric": "wape",
            "rows": 1200,
            "gates": [rule],
            "models": [{"name": "naive", "role": "naive", "error": 0.5, "metrics": {"pinball": 1.25}, "bytes": None}],
        }


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def test_first_and_second_night(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_GIT_COMMIT", "abc123")
    assert night.promote("one") == {
        "outcome": "promoted",
        "reason": "fp16 passes all 1 gates",
        "entry": 1,
        "release": 1,
        "candidate": "fp16",
        "model_sha256": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
    }
    assert night.promote("two", champion=1, run_id="r2")["entry"] == 2
    entry = night.releases.champion()
    assert entry is not None and (entry.run_id, entry.as_of) == ("r2", date(2026, 1, 1))
    names = ["MLmodel", "card.md", "contract.json", "model.onnx", "run.yaml", "snapshot.json", "verdict.json"]
    assert sorted(night.releases.files(entry)) == names
    card = night.releases.read(entry, "card.md").decode()
    assert "git commit: abc123" in card and "- run: r2" in card and "compared with ledger entry: 1" in card
    verify(night.releases)


def test_the_lock_of_the_workspace_goes_with_the_release(night: Night) -> None:
    context = night.prepare("one", champion=0, run_id="r1")
    (context.root / "dvc.lock").write_text("schema: '2.0'\n")
    promote.run(context)
    assert night.releases.champion_file(1, "dvc.lock") == b"schema: '2.0'\n"


def test_what_the_release_was_made_from_and_on_goes_with_it(night: Night) -> None:
    context = night.prepare("one", champion=0, run_id="r1")
    code = context.root / "tasks" / "models" / "lstm.py"
    code.parent.mkdir(parents=True)
    code.write_text("x = 1\n")
    stage = "{deps: [{path: tasks/models, md5: a}], outs: [{path: artifacts/teachers, md5: b}]}"
    (context.root / "dvc.lock").write_text(f"stages: {{teach: {stage}}}\n")
    (context.root / "surroundings.json").write_text('{"git_commit": "abc"}')
    promote.run(context)
    assert night.releases.champion_file(1, "surroundings.json") == b'{"git_commit": "abc"}'
    listed = json.loads(night.releases.champion_file(1, "code.json") or b"")
    assert listed == {"tasks/models/lstm.py": sha256(b"x = 1\n").hexdigest()}
    promote.run(context)
    assert len(night.releases.ledger.entries()) == 1, "a retry makes the same files"


def test_a_rejection_is_no_error_and_changes_nothing(night: Night) -> None:
    outcome = night.promote(verdict="reject", winner=None, winner_sha256=None, reason="fp16 does not pass size")
    assert (outcome["outcome"], outcome["reason"]) == ("rejected", "fp16 does not pass size")
    assert outcome["entry"] is outcome["release"] is outcome["candidate"] is None
    assert night.releases.champion() is None


def test_the_champions_own_bytes_are_not_released_again(night: Night) -> None:
    night.promote("one")
    assert night.promote("one", champion=1, run_id="r2")["outcome"] == "unchanged"
    assert len(night.releases.ledger.entries()) == 1


def test_of_two_runs_with_one_champion_the_second_is_superseded(night: Night) -> None:
    night.promote("one")
    outcome = night.promote("two", run_id="r2")
    assert (outcome["outcome"], outcome["entry"], outcome["release"]) == ("superseded", None, None)
    assert "ledger entry 1" in outcome["reason"]
    assert [entry.run_id for entry in night.releases.ledger.entries()] == ["r1"]


def test_a_dry_run_releases_nothing(night: Night) -> None:
    assert night.promote(dry_run=True)["outcome"] == "dry-run"
    assert night.releases.champion() is None


def test_a_retry_after_the_release_says_the_same(night: Night) -> None:
    first = night.promote("one")
    night.promote("two", champion=1, run_id="r2")
    assert night.promote("one") == first
    assert len(night.releases.ledger.entries()) == 2


def test_what_was_rolled_back_does_not_come_back_by_night(night: Night) -> None:
    night.promote("one")
    night.promote("two", champion=1, run_id="r2")
    night.releases.rollback(1, "shelves ran empty")
    outcome = night.promote("two", champion=3, run_id="r3")
    assert outcome["outcome"] == "rejected"
    assert outcome["reason"] == "these bytes were rolled back by ledger entry 3 (shelves ran empty)"
    assert night.promote("three", champion=3, run_id="r4")["release"] == 4


def test_a_pinned_champion_is_not_replaced(night: Night) -> None:
    night.promote("one")
    pin(night.releases, "the sale")
    outcome = night.promote("two", champion=2, run_id="r2")
    assert outcome["outcome"] == "held"
    assert outcome["reason"] == "release 1 is pinned by ledger entry 2 (the sale); fp16 passes all 1 gates"
    assert outcome["entry"] is outcome["release"] is None
    assert night.promote("two", champion=2, run_id="r3", dry_run=True)["outcome"] == "held"
    assert night.promote("one", champion=2, run_id="r4")["outcome"] == "unchanged"
    unpin(night.releases, "it is over")
    assert night.promote("two", champion=2, run_id="r2") == outcome, "a retry says the same"
    assert night.promote("two", champion=3, run_id="r5")["release"] == 4


@pytest.mark.parametrize(
    ("decide", "kind"),
    [
        (lambda releases: pin(releases, "the sale"), "a pin (the sale)"),
        (lambda releases: releases.rollback(1, "shelves ran empty"), "a rollback (shelves ran empty)"),
        (lambda releases: prune(releases, 1), "a prune (keep 1)"),
    ],
)
def test_what_people_decide_while_a_night_runs_supersedes_it(night: Night, decide: Any, kind: str) -> None:
    for number, model in enumerate(("zero", "one", "two")):
        night.promote(model, champion=number, run_id=model)
    decide(night.releases)
    outcome = night.promote("four", champion=3, run_id="late")
    assert outcome["outcome"] == "superseded"
    assert outcome["reason"].startswith(f"ledger entry 4, {kind}, was written meanwhile")
    assert len(night.releases.ledger.entries()) == 4


def test_bytes_that_nobody_judged_are_refused(night: Night) -> None:
    context = night.prepare("one", champion=0, run_id="r1")
    (context.artifacts / "candidates" / "fp16" / "model.onnx").write_text("onf")
    with pytest.raises(IntegrityError, match="not the bytes that evaluation judged"):
        promote.run(context)
    assert night.releases.champion() is None


def test_a_model_that_reads_another_file_is_refused(night: Night) -> None:
    context = night.prepare(":\4*\2p\1", champion=0, run_id="r1")  # a graph of one tensor whose data lie elsewhere
    with pytest.raises(IntegrityError, match=r"model\.onnx: its weights lie in another file, which no digest covers"):
        promote.run(context)
    assert night.releases.champion() is None


def test_a_verdict_against_another_champion_is_refused(night: Night) -> None:
    night.promote("one")
    context = night.prepare("two", champion=0, run_id="r2")
    context = replace(context, run=context.run.model_copy(update={"champion": 1}))
    with pytest.raises(IntegrityError, match=r"compared with ledger entry 0, but run.yaml says 1"):
        promote.run(context)


def test_with_a_key_a_night_signs_what_it_releases(night: Night, tmp_path: Path) -> None:
    private, public, _ = generate(tmp_path / "keys")
    night.promote("one")
    night.settings = Settings(
        home=tmp_path / "home", project=PROJECT, signing_key=str(private), trusted_keys=str(public)
    )
    assert night.promote("two", champion=1, run_id="r2")["outcome"] == "promoted"
    believing = ReleaseStore(night.settings.releases(), "sales", load_keys(trusted_keys=str(public)))
    assert believing.read(believing.release(), "model.onnx") == b"two"
    with pytest.raises(IntegrityError, match="sales release 1: not signed"):
        believing.verify(believing.release(1))


def test_outcomes_do_not_depend_on_the_run(night: Night, tmp_path: Path) -> None:
    other = Night(tmp_path / "elsewhere")
    assert night.promote("one", run_id="a") == other.promote("one", run_id="b")
    assert night.promote("two", run_id="c") == other.promote("two", run_id="d")
