"""What the nights' pages and numbers read of late data is what the messages leave."""

import json
from pathlib import Path

from dags.notify import message, once, recovered


def test_late_data_stand_in_the_run_store_until_a_night_went_well(run_store: Path) -> None:
    once(message("late data", "sales", "r1", "date: days without data"), "nightly_sales/r1/0", "nightly_sales")
    (file,) = (run_store / "notify" / "sales" / "open").iterdir()
    told = json.loads(file.read_text())
    assert told["event"] == "late data" and "days without data" in told["text"]
    recovered("sales", "nightly_sales", "r2")
    assert not file.exists()


def test_another_failure_does_not_hide_them_and_both_are_over_at_once(run_store: Path) -> None:
    once(message("late data", "sales", "r1", "date: days without data"), "nightly_sales/r1/0", "nightly_sales")
    once(message("failed", "sales", "r2", "disk full"), "nightly_sales/r2/0", "nightly_sales")
    folder = run_store / "notify" / "sales" / "open"
    assert sorted(json.loads(file.read_text())["event"] for file in folder.iterdir()) == ["failed", "late data"]
    recovered("sales", "nightly_sales", "r3")
    assert not [*folder.iterdir()]
