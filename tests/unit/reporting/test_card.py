"""The model card says what is known, and shows a dash for what is not."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.reporting.card import model_card

PROJECT = Path(__file__).parents[3]
VERDICT: dict[str, Any] = {
    "verdict": "promote",
    "winner": "fp16",
    "reason": "fp16 passes all 2 gates",
    "primary_metric": "wape",
    "rows": 8960,
    "gates": [
        {"gate": "size", "candidate": "fp16", "passed": True, "observed": 40123, "limit": 262144, "rule": "bytes"},
        {
            "gate": "naive",
            "candidate": "fp16",
            "passed": False,
            "observed": None,
            "limit": 0.5,
            "rule": "a | b",
            "note": "n",
        },
        {"gate": "size", "candidate": "fp32", "passed": True, "observed": 80000, "limit": 262144, "rule": "bytes"},
    ],
    "models": [
        {"name": "naive", "role": "naive", "error": 0.41236, "metrics": {}, "parameters": None, "bytes": None},
        {
            "name": "fp16",
            "role": "candidate",
            "error": 0.3,
            "metrics": {"pinball": 1.5},
            "parameters": 20123,
            "bytes": 4,
        },
    ],
}
SNAPSHOT = {
    "source": "complete-journey",
    "rows": 109500,
    "entities": 300,
    "first_date": "2025-01-01",
    "last_date": "2026-01-29",
    "as_of": "2026-01-01",
    "notes": ["Simulated."],
    "shift_weeks": 470,
}
CONTRACT = {"inputs": {"b": ["float32", [56, 3]], "a": ["int64", [2]]}, "order": ["b", "a"], "output_shape": [28, 3]}


@pytest.fixture
def run() -> Run:
    section = dict(load_workload(PROJECT / "params.yaml", "sales"))
    return Run(**{**section, "title": "Retail sales"}, workload="sales", as_of=date(2026, 1, 1), champion=0)


def test_a_card(run: Run) -> None:
    card = model_card(run, VERDICT, SNAPSHOT, CONTRACT, {"run": "r1", "git commit": ""})
    assert card.startswith("# Retail sales: fp16, as of 2026-01-01\n")
    for line in (
        "- 109,500 rows, 300 entities",
        "- Simulated.",
        "- a replay: the source's days are shown 470 weeks later than they were",
        "- `b`: float32, batch × 56 × 3\n- `a`: int64, batch × 2\n- output: float32, batch × 28 × 3",
        "| model | role | wape | pinball | parameters | bytes |",
        "| naive | naive | 0.4124 | – | – | – |",
        "| **fp16** | candidate | 0.3 | 1.5 | 20,123 | 4 |",
        "| size | yes | 40,123 | 262,144 | bytes |",
        "| naive | **no** | – | 0.5 | a \\| b (n) |",
        "- run: r1\n",
    ):
        assert line in card
    assert "80,000" not in card and "git commit" not in card


def test_a_card_of_a_run_without_a_winner(run: Run) -> None:
    verdict: dict[str, Any] = {
        "verdict": "reject",
        "winner": None,
        "reason": "there is no candidate",
        "gates": [],
        "models": [],
    }
    card = model_card(run, verdict, {}, {}, {})
    assert "# Retail sales: no candidate" in card and "**reject** — there is no candidate" in card
