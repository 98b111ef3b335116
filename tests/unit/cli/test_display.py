"""What a person sees: texts as they are, whatever signs they have, and a dash for what cannot be measured."""

from typing import Any

import pytest

from tasks.cli import display
from tasks.cli.console import console
from tasks.pipeline.handover.manifest import Manifest

TEXT = "no [/tmp/x] [bold]b[/] :warning: [/]"


def shown(capsys: pytest.CaptureFixture[str], thing: Any) -> str:
    console.print(thing)
    return " ".join(capsys.readouterr().out.split())


def test_the_text_of_an_error_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    failed = Manifest(stage="features", workload="sales", run_id="r", status="failed", reason="", error=TEXT)
    assert TEXT in shown(capsys, display._stages_table([failed]))
    assert TEXT in shown(capsys, f"out/{TEXT}")


def test_the_rule_of_a_gate_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    gate = {"gate": "size", "candidate": "fp32", "passed": False, "observed": None, "limit": 1.0, "rule": TEXT}
    assert TEXT in shown(capsys, display._gates_table({"winner": None, "gates": [gate]}))


def test_what_cannot_be_compared_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    """A constant series has a naive error of zero, and no error is so many per cent of it."""
    none = {"error": 0.0, "difference": None, "low": None, "high": None}
    comparison = {"candidate": "fp32", "teacher": none, "naive": none, "champion": None}
    line = shown(capsys, display._comparison_table(comparison, "wape"))
    assert "│ naive │ 0.0000 │ – │ – │" in line
