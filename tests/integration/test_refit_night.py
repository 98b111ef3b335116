"""A night with `refit: newest`: what was chosen is made again with newer rows, and those bytes are judged."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.config.run import Run
from tasks.core.errors import UsageError
from tasks.core.files import read_json
from tasks.core.settings import Settings
from tasks.problems import get_problem
from tasks.reporting.collect import Material, collect
from tasks.stages import promote, refit
from tasks.stages.context import Context
from tests.in_process import judge, make
from tests.integration import test_text_night as texts
from tests.integration.test_covariates_night import night
from tests.unit.problems.text.letters import AS_OF as LETTERS_AS_OF
from tests.unit.problems.text.letters import letters
from tests.weather import AHEAD, AS_OF, weather_table


def with_refit(root: Path, table: pl.DataFrame) -> Context:
    """The workspace of a night with it. Its search finds a recipe of some trial."""
    plain = night(root, table)
    section: dict[str, Any] = plain.run.section().model_dump(mode="json")
    section["recipes"] = {
        "smallest": {
            "search": {
                "limits": {"retention": 1.5},
                "trials": 2,
                "space": [
                    {"kind": "neurons", "keep": [0.5, 0.9], "epochs": 1},
                    {"kind": "numbers", "choices": ["fp16"]},
                ],
            }
        }
    }
    run = type(plain.run)(**{**section, "refit": "newest"}, workload="weather", as_of=AS_OF, champion=0)
    return Context(run, Settings(home=root / "home", project=root), root, root / "pages")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, dict[str, Any]]:
    """A night up to its verdict."""
    context = with_refit(tmp_path_factory.mktemp("refit"), weather_table())
    return context, judge(context)


def test_what_was_chosen_is_made_again_and_judged_first(judged: tuple[Context, dict[str, Any]]) -> None:
    context, verdict = judged
    about, chosen = (read_json(context.artifacts / "refit" / name / "about.json") for name in ("newest", "smallest"))
    assert about["of"] == "smallest"
    assert about["rows"]["now"] > about["rows"]["before"]
    assert (about["student"], about["steps"], about["valid_error"]) == (
        chosen["student"],
        chosen["steps"],
        chosen["valid_error"],
    )
    assert about["sha256"] != chosen["sha256"]
    assert verdict["winner"] == "newest"
    assert verdict["winner_sha256"] == about["sha256"]


def test_the_page_says_what_the_choice_was_made_on(judged: tuple[Context, dict[str, Any]]) -> None:
    context, _ = judged
    promote.run(context)
    assert read_json(context.artifacts / "promotion" / "outcome.json")["candidate"] == "newest"
    facts = collect(Material(context.run, context.artifacts))
    assert len(facts.notes) == 1
    assert facts.notes[0].startswith("newest is smallest made again: ")
    assert "chosen then, on validation rows" in facts.notes[0]


def test_the_values_of_the_test_change_no_byte_of_it(judged: tuple[Context, dict[str, Any]], tmp_path: Path) -> None:
    context, _ = judged
    dataset = get_problem(context.run.problem).load(context.artifacts / "features")
    first = AS_OF - timedelta(days=AHEAD - 1)
    table = weather_table().with_columns(
        units=pl.when(pl.col("date").is_between(first, AS_OF)).then(pl.col("units") * 3 + 1).otherwise(pl.col("units"))
    )
    other = with_refit(tmp_path, table)
    make(other)
    seen = get_problem(other.run.problem).load(other.artifacts / "features")
    rows = dataset.splits["test"]
    assert (seen.target(rows) != dataset.target(rows)).any()
    models = [(each.artifacts / "refit" / "newest" / "model.onnx").read_bytes() for each in (context, other)]
    assert models[0] == models[1]


def test_a_name_that_the_workload_does_not_give_is_refused(judged: tuple[Context, dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match="stage refit: expected newest, got 'older'"):
        refit.run(judged[0], "older")


def texts_with_refit(root: Path, table: pl.DataFrame) -> Context:
    """The workspace of a night of letters, in which rows are dealt by a hash and outputs are calibrated."""
    section = texts.section(root)
    section["source"] = {"kind": "table", "path": "letters.parquet"}
    section["students"]["student"].pop("augment")
    table.write_parquet(root / "letters.parquet")
    run = Run(**section, refit="newest", workload="letters", as_of=LETTERS_AS_OF, champion=0)
    return Context(run, Settings(home=root / "home", project=root), root, root / "pages")


def test_labelled_rows_that_validated_are_learned_from_and_those_of_the_test_change_no_byte(tmp_path: Path) -> None:
    first, other = (tmp_path / name for name in ("first", "other"))
    for root in (first, other):
        root.mkdir()
    context = texts_with_refit(first, letters())
    verdict = judge(context)
    assert verdict["winner"] == "newest", verdict["reason"]
    rows = get_problem(context.run.problem).load(context.artifacts / "features")
    about, chosen = (
        read_json(context.artifacts / "refit" / name / "about.json") for name in ("newest", "int8-weights")
    )
    train, valid = (len(rows.splits[name]) for name in ("train", "valid"))
    assert about["rows"] == {"before": train, "now": train + valid}
    assert about["correction"] == chosen["correction"], "that of before: all that it could be fitted on is learned from"
    assert about["sha256"] != chosen["sha256"]
    table = letters().with_row_index("_place")
    tested = pl.col("_place").is_in(rows.table["_place"].gather(rows.splits["test"]).to_list())  # type: ignore[attr-defined]
    planted = table.with_columns(label=pl.when(tested).then(pl.lit("other")).otherwise("label")).drop("_place")
    assert not planted.equals(letters())
    make(again := texts_with_refit(other, planted))
    models = [(each.artifacts / "refit" / "newest" / "model.onnx").read_bytes() for each in (context, again)]
    assert models[0] == models[1]
