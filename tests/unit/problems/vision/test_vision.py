"""The kind vision: rows, splits, checks, errors, disturbances, and candidates that its gates must refuse."""

from base64 import b64encode
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from tasks.compression.export import export_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.problems.base import Augment, Labelled, Raw, Since
from tasks.problems.models import build_model
from tasks.problems.vision.augment import AUGMENT
from tasks.problems.vision.disturbances import KINDS, disturb, moved
from tasks.problems.vision.metrics import score_images
from tasks.tables.sources.files import read_files
from tests.unit.problems.vision import shapes

LABELS = shapes.labels()


def said(table: pl.DataFrame, **changes: Any) -> dict[str, Any]:
    """The findings that are above their limit, by rule."""
    found = shapes.problem(**changes).findings({"labels": table.lazy()}, shapes.AS_OF)
    return {each.rule: each for each in found if each.value > each.high}


def test_pixels_stay_bytes_until_the_model_and_lie_on_the_disk(tmp_path: Path) -> None:
    rows = shapes.dataset(LABELS)
    rows.save(tmp_path)
    loaded = shapes.problem().load(tmp_path)
    train = loaded.splits["train"]
    images = loaded.inputs(train)["image"]
    assert images.dtype == np.uint8 and images.shape[1:] == (8, 8, 1)
    assert isinstance(loaded.images, np.memmap)  # type: ignore[attr-defined]
    values = images / 255.0
    assert rows.contract.statistics["mean"] == pytest.approx([values.mean()])
    assert rows.contract.statistics["scale"] == pytest.approx([values.std()])


def test_equal_images_are_in_one_split_every_night() -> None:
    twice = pl.concat([LABELS, LABELS.with_columns(pl.col("id") + "b")])
    rows = shapes.dataset(twice)
    home = dict(zip(rows.rows["_place"], rows.rows["_split"], strict=True))
    assert all(home[place] == home[place + len(LABELS)] for place in range(len(LABELS)))
    once = shapes.dataset(LABELS)
    assert dict(zip(once.rows["_place"], once.rows["_split"], strict=True)).items() <= home.items()
    assert len(np.unique(rows.groups)) == len(LABELS)


def test_rows_are_split_by_group_or_time() -> None:
    day = [shapes.AS_OF - timedelta(days=number % 50 - 2) for number in range(len(LABELS))]
    table = LABELS.with_columns(
        pl.Series("day", day), who=pl.Series([f"w{number // 4}" for number in range(len(LABELS))])
    )
    grouped = shapes.dataset(table, group="who")
    of = table["who"].to_numpy()[grouped.rows["_place"].to_numpy()]
    assert all(len(set(grouped.rows["_split"].filter(pl.Series(of == who)))) == 1 for who in set(of))
    timed = shapes.dataset(table, time="day")
    days = pl.Series(day).to_numpy()[timed.rows["_place"].to_numpy()]
    assert days.max() == np.datetime64(shapes.AS_OF), "later rows are left out"
    split = timed.rows["_split"].to_numpy()
    assert days[split == "train"].max() < days[split == "valid"].min() <= days[split == "test"].min()


@pytest.mark.parametrize(
    ("change", "rule", "example"),
    [
        ({"image": b""}, "share of files that cannot be read", {"id": "i0003", "fault": "empty"}),
        ({"label": "round"}, "share of labels that are none of problem.classes", {"label": "round"}),
    ],
)
def test_rows_that_cannot_be_learned_from_stop_the_night(change: Any, rule: str, example: Any) -> None:
    ((name, value),) = change.items()
    odd = pl.lit(value)
    bad = LABELS.with_columns(pl.when(pl.col("id") == "i0003").then(odd).otherwise(name).alias(name))
    assert not said(LABELS)
    assert said(bad)[rule].example == example
    with pytest.raises(DataError, match=r"i0003.*empty|round"):
        shapes.dataset(bad)


def test_unreadable_files_within_the_limit_are_left_out() -> None:
    bad = LABELS.with_columns(pl.when(pl.col("id") == "i0003").then(pl.lit(b"x")).otherwise("image").alias("image"))
    assert not said(bad, max_unreadable=0.01)
    rows = shapes.dataset(bad, max_unreadable=0.01)
    assert isinstance(rows.images, np.memmap), "what stays lies on the disk"
    assert len(rows.rows) == len(LABELS) - 1 == len(rows.images) and 3 not in rows.rows["_place"]
    assert (rows.inputs(np.array([5]))["image"] == shapes.dataset(LABELS).inputs(np.array([6]))["image"]).all()


def test_equal_images_with_other_labels_and_a_lost_class_are_found() -> None:
    again = LABELS[:6].with_columns(pl.col("id") + "b", label=pl.lit("lying"))
    found = said(pl.concat([LABELS, again]))["share of images that are there before with another label"]
    assert found.value == pytest.approx(4 / 166) and found.example["first"] == "standing of {'id': 'i0001'}"
    lost = said(LABELS.filter(pl.col("label") != "leaning"))["what the rarest class lacks of 0.001 of the rows"]
    assert lost.example == {"class": "leaning", "rows": 0}


def test_rows_can_be_read_as_another_release_reads_them() -> None:
    rows = shapes.dataset(LABELS)
    raw = Raw({"labels": LABELS.lazy()}, shapes.AS_OF)
    other = shapes.dataset(LABELS, height=4, width=4, fit="stretch", channels=3).contract
    wide = rows.under(other, raw)
    assert wide.inputs(rows.splits["test"])["image"].shape == (20, 4, 4, 3)
    assert (wide.target(rows.splits["test"]) == rows.target(rows.splits["test"])).all()
    with pytest.raises(ValueError, match="height"):
        rows.under(other)
    with pytest.raises(ValueError, match="classes"):
        rows.under(shapes.dataset(LABELS, classes=(*shapes.CLASSES, "round"), min_share=0).contract, raw)


def test_errors_are_worked_out_by_hand() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]])).astype(np.float32)
    target = np.array([0, 1])
    score = score_images(logits, target, "error_rate")
    assert score.error == 0.5 and score.metrics["log_loss"] == pytest.approx(-(np.log(0.7) + np.log(0.4)) / 2)
    assert score.metrics["calibration_error"] == pytest.approx((0.3 + 0.5) / 2)
    broken = logits.copy()
    broken[0, 2] = np.nan
    assert np.isnan(score_images(broken, target, "error_rate").error), "a number that is none is never right"


def test_each_disturbance_changes_images_and_an_unknown_one_is_named() -> None:
    inputs = {"image": shapes.dataset(LABELS).inputs(np.arange(5))["image"]}
    before = inputs["image"].copy()
    for kind in KINDS:
        found = disturb(kind, {"shift": 1.0, "blur": 0.8}.get(kind, 0.3), inputs, 1)["image"]
        assert found.dtype == np.uint8 and found.shape == before.shape and (found != before).any(), kind
        assert (disturb(kind, 0.0, inputs, 1)["image"].astype(int) - before).max() <= 40, kind
    assert (inputs["image"] == before).all()
    row = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    assert (moved(row, np.array([[1, -2]]))[0, 1:, :-2, 0] == row[0, :-1, 2:, 0]).all()
    with pytest.raises(ConfigError, match="unknown kind 'rain'; there are: noise, blur, brightness, jpeg, shift"):
        disturb("rain", 1, inputs, 1)


@pytest.mark.parametrize("kind", AUGMENT)
def test_training_images_are_changed_and_labels_stay(kind: str) -> None:
    rows = shapes.dataset(LABELS)
    train = rows.splits["train"]
    batch = Labelled(rows.inputs(train), rows.target(train))
    before = batch.inputs["image"].copy()
    augment = AUGMENT[kind](shift=1, flip=True)  # type: ignore[call-arg]
    found = augment.apply(batch, rows.contract, np.random.default_rng(0))
    assert (found.target == batch.target).all() and (batch.inputs["image"] == before).all()
    changed = (found.inputs["image"] != before).any(axis=(1, 2, 3)).mean()
    assert found.inputs["image"].shape == before.shape and 0.5 < changed <= 1


def test_every_second_epoch_turns_an_image_and_two_epochs_show_both_sides() -> None:
    rows = shapes.dataset(LABELS)
    train = rows.splits["train"]
    images = rows.inputs(train)["image"]
    augment = AUGMENT["move"].model_validate({"shift": 0, "flip": "alternating"})
    assert isinstance(augment, Augment)

    def shown(epoch: int, seed: int = 0) -> Any:
        batch = Labelled({"image": images}, rows.target(train), epoch=epoch)
        return augment.apply(batch, rows.contract, np.random.default_rng(seed)).inputs["image"]

    first, second = shown(0), shown(1)
    turned = (first == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (first[~turned] == images[~turned]).all() and 0.25 < turned.mean() < 0.75
    assert (second == first[:, :, ::-1]).all() and (shown(2, seed=9) == first).all(), "no chance in it"
    with pytest.raises(ValidationError, match="flip"):
        AUGMENT["move"].model_validate({"flip": "sometimes"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": ["a"]}, r"problem\.classes"),
        ({"classes": ["a", "a"]}, "a name stands there twice"),
        ({"image": "label"}, "column 'label' is named twice"),
        ({"id": "predicted"}, "the name 'predicted' is taken"),
        ({"channels": 2}, r"problem\.channels"),
        ({"fit": "squeeze"}, r"problem\.fit"),
    ],
)
def test_a_wrong_option_is_named(options: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        shapes.problem(**options)


@pytest.mark.parametrize(
    ("spec", "weights"),
    [
        # Without the outputs, of 1000 classes in the literature: 11.2, 23.5 and 0.27 million.
        (Spec(kind="resnet", depth=18), 11_169_000),
        (Spec(kind="resnet", depth=50), 23_501_000),
        (Spec(kind="resnet", depth=20), 272_000),
    ],
)
def test_a_network_of_the_literature_has_its_number_of_weights(spec: Spec, weights: int) -> None:
    contract = shapes.problem(height=32, width=32, channels=3).draft_contract()
    model = build_model(spec, contract)
    count = sum(each.numel() for name, each in model.named_parameters() if not name.startswith("output"))
    assert count == pytest.approx(weights, rel=0.005)


@pytest.mark.parametrize("kind", ["resnet", "fast", "separable"])
def test_batch_normalisation_is_part_of_the_convolutions_in_a_file(kind: str) -> None:
    rows = shapes.dataset(LABELS)
    model = build_model(Spec(kind=kind), rows.contract)
    data = export_onnx(model, rows.contract, rows.inputs(np.arange(2)))
    assert b"BatchNormalization" not in data and b"Conv" in data


def test_what_came_of_predictions_is_told_of_rows_that_got_their_label_since() -> None:
    problem = shapes.problem()
    then = LABELS.with_columns(label=pl.when(pl.int_range(pl.len()) < 150).then("label"))
    contract = shapes.dataset(LABELS).contract
    since = Since(date(2026, 6, 1), date(2026, 6, 2), {"labels": LABELS.lazy()}, lambda: {"labels": then.lazy()})
    naive = problem.naive_predictions(since, contract)
    found = problem.outcomes(naive, since, contract).rows
    assert found["entity"].to_list() == [f"i{number:04d}" for number in range(150, 160)]
    shares = np.array(contract.statistics["shares"])
    assert found["loss"].to_numpy() == pytest.approx(-np.log(shares[found["truth"].to_numpy().astype(int)]), rel=1e-5)
    with pytest.raises(ConfigError, match=r"problem\.id"):
        shapes.problem(id=None).outcomes(naive, since, contract)


def test_a_csv_file_has_image_files_in_base64(tmp_path: Path) -> None:
    encoded = [b64encode(content).decode() for content in LABELS["image"]]
    LABELS.with_columns(pl.Series("image", encoded)).write_csv(tmp_path / "labels.csv")
    problem = shapes.problem()
    read = read_files([str(tmp_path / "labels.csv")], problem.tables())["labels"].collect()
    assert read.select(LABELS.columns).equals(LABELS)
