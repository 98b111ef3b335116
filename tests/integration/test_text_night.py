"""A night of texts in one process: what is released says the same to all who ask it."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.client import Champion, InputError
from tasks.config.workload import load_workload
from tasks.core.files import read_json
from tasks.proposal.propose import propose
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tests.in_process import night_of
from tests.unit.problems.text.letters import AS_OF, OPTIONS, letters

PROJECT = Path(__file__).parents[2]


def written(path: Path) -> Path:
    """Letters as a spreadsheet writes them: a byte order mark, semicolons, some in lines of their own."""
    lined = pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.col("text").str.replace(" ", "\n")).otherwise("text")
    path.write_bytes("\ufeff".encode() + letters().with_columns(text=lined).write_csv(separator=";").encode())
    return path


def section(root: Path) -> dict[str, Any]:
    """What is proposed for a file of letters, with the models of the workload `text`, small."""
    proposed = propose("letters", written(root / "letters.csv"), root)
    seen = {name: proposed.section["problem"][name] for name in ("text", "target", "id", "segments")}
    assert (proposed.as_of, proposed.section["problem"]["time"]) == (AS_OF, "day")
    assert proposed.section["problem"]["classes"] == sorted(OPTIONS["classes"])
    found = load_workload(PROJECT / "params.yaml", "text").model_dump(mode="json")
    training = {"epochs": 6, "batch_size": 16, "learning_rate": 0.02}
    student = {"model": {"kind": "bag", "width": 8, "rows": 509, "drop_tokens": 0.1}, "training": training}
    found |= {
        "source": proposed.section["source"],
        "problem": {**OPTIONS, **seen, "calibrate": "temperature", "valid_share": 0.3},
        "folds": 2,
        "teachers": {"linear": {"model": {"kind": "linear"}}},
        "students": {"student": {**student, "alpha": 0.3, "augment": {"kind": "unlabelled", "rows": 20}},
                     "twin": {**student, "alpha": 1.0}},
        "recipes": {"int8-weights": found["recipes"]["int8-weights"]},
        "checks": {"max_volume_ratio": 50},
    }  # fmt: skip
    gates = found["gates"]
    gates["accuracy"] |= {"limit": 1, "naive_margin": 0.1, "retention": 100, "max_gain": 1, "resamples": 200}
    gates["segments"] |= {"by": ["label", "language"], "min_rows": 5}
    gates["latency"] |= {"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6}
    gates["calibration"] = {"calibration_error": 0.5}
    gates["robustness"] = [{**item, "limit": 100} for item in gates["robustness"]]
    return found


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A night's folder, its settings and its verdict."""
    root = tmp_path_factory.mktemp("night")
    return night_of(root, "letters", section(root), AS_OF)


def test_a_night_is_promoted_and_its_page_shows_mistakes_with_their_text(night: Any) -> None:
    root, _, verdict = night
    assert read_json(root / "artifacts" / "promotion" / "outcome.json")["outcome"] == "promoted", verdict["reason"]
    models = {model["name"]: model for model in verdict["models"]}
    told = models[verdict["winner"]]["metrics"]
    assert told.keys() >= {"accuracy", "macro_f1", "calibration_error", "other_auc"} and told["accuracy"] > 0.8
    assert {"robustness/typos", "robustness/drop", "robustness/case"} <= {gate["gate"] for gate in verdict["gates"]}
    assert "calibration/calibration_error" in {gate["gate"] for gate in verdict["gates"]}
    about = read_json(root / "artifacts" / "candidates" / "int8-weights" / "about.json")
    assert about["correction"]["temperature"] > 0 and about["history"][-1]["step"] == "correction"
    assert about["valid_error"] == about["history"][-2]["error"], "what corrects it does not choose it"
    pages = "".join(path.read_text() for path in (root / "pages").rglob("*.html") if "data-docs" not in path.parts)
    assert "share of each class that is told right" in pages


def test_client_and_table_say_the_same(night: Any) -> None:
    root, settings, _ = night
    scores = Scorer(ReleaseStore(settings.releases(), "letters"), "letters").score({"rows": letters()}, AS_OF)
    assert scores.columns == ["letter", "p_order", "p_refund", "p_other", "predicted"] and len(scores) == 360
    champion = Champion.open(str(settings.release_store), "letters", cache=root / "cache")
    told = champion.predict_texts(letters()["text"].to_list())
    assert [one.label for one in told] == scores["predicted"].to_list()
    chances = pl.DataFrame([one.chances for one in told])
    for name in chances.columns:
        assert chances[name].to_list() == pytest.approx(scores[f"p_{name}"].to_list(), rel=1e-5)
    with pytest.raises(InputError, match="301 characters in row 0; expected at most 300"):
        champion.predict_texts(["x" * 301])
