"""A night of images in one process: features, teacher, student, int8 file, release, and who asks it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from serving.client import Champion
from tasks.config.workload import load_workload
from tasks.core.config import Spec
from tasks.core.errors import DataError
from tasks.problems.blocks.classes import probabilities
from tasks.proposal.propose import propose
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tasks.tables.sources.files import read_files
from tests.in_process import night_of
from tests.unit.problems.vision.shapes import AS_OF, CLASSES, labels

PROJECT = Path(__file__).parents[2]


def pictures(folder: Path) -> Path:
    """Images in a folder by their class, as people have them: JPEG among PNG, one that is cut, and what is no image."""
    for row in labels().iter_rows(named=True):
        path = folder / row["label"] / f"{row['id']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image"])
    (folder / "lying" / "cut.png").write_bytes(labels(1)["image"][0][:60])
    (folder / "Thumbs.db").write_bytes(b"no image")
    return folder


def section(root: Path) -> dict[str, Any]:
    """What is proposed for a folder of images, with the models of the workload `images`, small."""
    proposed = propose("shapes", pictures(root / "pictures"), root).section
    found = load_workload(PROJECT / "params.yaml", "images").model_dump(mode="json")
    training = {"epochs": 4, "batch_size": 16, "learning_rate": 0.02, "precision": "bfloat16"}
    augment = {"kind": "move", "shift": 1}
    student = {"model": {"kind": "resnet", "blocks": [1], "width": 8}, "training": training, "augment": augment}
    teacher = {"model": {"kind": "fast", "widths": [16]}, "training": training, "augment": augment}
    found |= {
        "source": proposed["source"],
        "problem": proposed["problem"],
        "folds": 2,
        "teachers": {"fast": {**teacher, "keep": ["features"]}},
        "students": {
            "student": {**student, "alpha": 0.5, "temperature": 2.0, "terms": [{"kind": "hint", "weight": 0.1}]},
            "twin": {**student, "alpha": 1.0},
        },
        "recipes": {"int8-static": {"steps": [{"kind": "int8-static", "convolutions": True, "samples": 64}]}},
    }
    gates = found["gates"]
    gates["accuracy"] |= {"limit": 1.1, "naive_margin": 0, "retention": 100, "max_gain": 1, "resamples": 200}
    gates["segments"] |= {"min_rows": 1}
    gates["parity"] = {"tolerance": 0.5}
    gates["latency"] |= {"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6}
    gates["robustness"] = [{**item, "limit": 100} for item in gates["robustness"]]
    return found


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A night's folder, its settings and its verdict."""
    root = tmp_path_factory.mktemp("night")
    return night_of(root, "shapes", section(root), AS_OF)


def test_a_file_in_eight_bits_is_released_and_its_page_shows_images(night: Any) -> None:
    root, settings, verdict = night
    assert verdict["verdict"] == "promote", verdict["reason"]
    releases = ReleaseStore(settings.releases(), "shapes")
    graph = onnx.load_model_from_string(releases.read(releases.release(None), "model.onnx")).graph
    stored = {item.data_type for item in graph.initializer if len(item.dims) == 4}
    assert stored == {onnx.TensorProto.UINT8}, "all convolutions"
    (winner,) = [model for model in verdict["models"] if model["name"] == verdict["winner"]]
    assert winner["metrics"].keys() >= {"error_rate", "calibration_error", "macro_f1"}
    pages = "".join(path.read_text() for path in (root / "pages").rglob("*.html") if "data-docs" not in path.parts)
    assert "true class (lines) against what was said" in pages and "by the chance of what was said" in pages
    assert ("worst mistakes" in pages) == ("data:image/png;base64," in pages)


def test_client_table_and_folder_say_the_same(night: Any) -> None:
    root, settings, _ = night
    table = labels(20, seed=9).select(pl.col("id").alias("file"), "image")
    scorer = Scorer(ReleaseStore(settings.releases(), "shapes"), "shapes")
    scores = scorer.score({"labels": table}, AS_OF)
    (root / "new").mkdir()
    for file, content in table.iter_rows():
        (root / "new" / f"{file}.png").write_bytes(content)
    asked = read_files([str(root / "new")], scorer.problem.tables(), Spec(kind="folder", path="pictures"))
    by_folder = next(scorer.stream(asked, AS_OF))
    assert by_folder.drop("file").equals(scores.drop("file"))
    champion = Champion.open(str(settings.release_store), "shapes", cache=root / "cache")
    assert [one.label for one in champion.predict_images(table["image"].to_list())] == scores["predicted"].to_list()
    logits = champion.predict({"image": champion.read_images(table["image"].to_list())})
    np.testing.assert_allclose(
        scores.select(f"p_{name}" for name in sorted(CLASSES)).to_numpy(), probabilities(logits), rtol=1e-5
    )
    assert scores["file"].to_list() == table["file"].to_list()


def test_a_broken_file_in_a_table_is_one_line(night: Any) -> None:
    _, settings, _ = night
    table = labels(3).select(pl.col("id").alias("file"), pl.lit(b"\x89PNG cut").alias("image"))
    with pytest.raises(DataError, match=r"^image: file 0 is no image; expected a file of JPEG or PNG$"):
        Scorer(ReleaseStore(settings.releases(), "shapes"), "shapes").score({"labels": table}, AS_OF)
