"""The section for images that lie in folders by their class, or that a table names or holds."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
import polars as pl

from serving.contract.images import FORMATS
from tasks.core.errors import DataError
from tasks.problems.vision.checks import findings
from tasks.problems.vision.files import LABELS
from tasks.problems.vision.options import Options
from tasks.proposal.blocks.columns import id_column, label_column
from tasks.proposal.blocks.look import Look
from tasks.proposal.blocks.proposal import SCHEDULED, Proposal, alike, common, entropy, widened
from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.folder import FILE, IMAGE, LABEL, label_of, list_images
from tasks.tables.sources.linked import with_files

LOOKED_AT = 2000
"""So many files are opened, evenly spread over all."""
LARGEST = 64  # pixels of a side that models read, where nobody says more
SIDES = (16, 24, 32, 48, LARGEST)
SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation")
LEAST = 2
SLOWER, UNEVEN = 4, 4  # than the proposed student a candidate may be so many times; and p95 than p50
SEEN = 30_000 * 32**2  # pixels of training that a network sees in all, as far as epochs allow


@dataclass(frozen=True)
class Images:
    """`rows`: FILE or another id, the label and IMAGE, bytes, of some of all rows.

    `labels`: of all rows. `source`: the section. `label`, `id`: the columns' names under the contract. `file`: what the
    images are called by, `said`: what is told of them.
    """

    rows: pl.DataFrame
    labels: pl.Series
    source: Mapping[str, Any]
    label: str
    id: str | None
    file: str
    said: Sequence[str]


def of_folder(name: str, folder: Path, path: str) -> Proposal:
    """Return the proposal for a folder, called `path` in the section. Raises DataError when it has no classes."""
    try:
        files, others = list_images(str(folder), Path())
        labels = pl.Series(LABEL, [label_of(file) for file in files], pl.String)
        found = {label for label in labels if label}
        if found and found <= set(SPLITS):
            there = " and ".join(sorted(found))
            raise DataError(f"{folder}: its folders are {there}; name one of them, such as {folder}/{min(found)}")
        if len(found) < LEAST:
            there = f"there is one folder, {min(found)}" if found else "there is no folder"
            raise DataError(f"{folder}: each class needs a folder, {folder}/<class>/<file>; {there}")
        table = pl.DataFrame({FILE: files, LABEL: labels, IMAGE: files}, dict.fromkeys((FILE, LABEL, IMAGE), pl.String))
        rows, _ = with_files(_some(table), [IMAGE], str(folder), Path())
    except Unreadable as error:
        raise DataError(str(error)) from None
    counts = labels.drop_nulls().value_counts().sort(LABEL).iter_rows()
    listed = ", ".join(f"{label} {count:,}" for label, count in counts)
    said = [f"classes: the folders: {listed}"]
    if loose := labels.null_count():
        said.append(f"{loose} file(s) lie in no folder: they are predicted, and not learned from")
    if others:
        said.append(f"left out: {len(others)} file(s) with another ending, such as {others[0]}")
    source = {"kind": "folder", "path": path}
    return _proposal(name, Images(rows, labels, source, LABEL, FILE, folder.name, said))


def of_table(name: str, seen: Look, path: str, project: Path, image: str, target: str) -> Proposal:
    """Return the proposal for a table with a column `image` of files or of their paths. `target`: the label's column.

    Raises UsageError when `target` is no column, DataError without labels or when the files are not found.
    """
    label = label_column(seen, image, target)
    labels, key = seen.words(label), id_column(seen.rows, [label, image])
    columns = {IMAGE: image} if image != IMAGE else {}
    options: dict[str, Any] = {}
    said = [f"image: {image}", f"label: {label}, {labels.drop_nulls().n_unique()} classes (change: --target)"]
    names = None if key is None else seen.words(key)
    folder = None
    if seen.rows.schema[image] == pl.String:
        folder = _folder_of(seen, image)
        options["files"] = f"{os.path.relpath(folder, project) if folder.is_relative_to(project) else folder}/"
        said[0] = f"image: files that {image} names, below {options['files']}"
        if key is None and not seen.rows[image].is_duplicated().any():
            key, names = (image if image != IMAGE else FILE), seen.texts[image]
            columns |= {key: image} if key != image else {}
    parts = [labels, seen.texts[image].alias(IMAGE)]
    if names is None:
        said.append("beware: no column identifies the rows (problem.id), so the watch cannot judge what was told")
    else:
        parts.append(names.alias(key or FILE))
    rows = _some(pl.DataFrame(parts))
    if folder is not None:
        rows, _ = with_files(rows, [IMAGE], str(folder), Path())
    source = seen.source(path, None, **({"columns": columns} if columns else {}), **options)
    return _proposal(name, Images(rows, labels, source, label, key, seen.path.name, said))


def _folder_of(seen: Look, image: str) -> Path:
    """Return the folder below which the paths of a column lie: the table's own, or one in it. Raises DataError."""
    here = seen.path.absolute().parent
    first = seen.rows[image].drop_nulls().head(20).to_list()
    for folder in (here, *sorted(path for path in here.iterdir() if path.is_dir())):
        if any((folder / file).is_file() for file in first):
            return folder
    raise DataError(
        f"{seen.path}: {image} names {first[0]!r:.80}, which lies neither beside the table nor in a folder there"
    )


def _some(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.gather_every(-(-rows.height // LOOKED_AT)) if rows.height > LOOKED_AT else rows


def _proposal(name: str, seen: Images) -> Proposal:
    classes = sorted(set(seen.labels.drop_nulls()))
    if len(classes) < LEAST:
        raise DataError(f"{seen.file}: {seen.label} has {len(classes)} class(es); there must be two to tell apart")
    form, said = _form(seen)
    problem: dict[str, Any] = {
        "kind": "vision", "classes": classes, **form, "label": seen.label, **({"id": seen.id} if seen.id else {}),
        "calibrate": "temperature",
    }  # fmt: skip
    options = Options.model_validate({key: value for key, value in problem.items() if key != "kind"})
    wider, beware = widened(findings({LABELS: seen.rows.lazy()}, options, date.max))
    problem |= wider
    labelled = seen.labels.drop_nulls()
    return Proposal(
        _section(name, seen, problem, len(labelled), entropy(labelled)),
        (*seen.said, *said, *beware, *alike(classes)),
        {**SCHEDULED, "problem.fit": "exact: files of another size are refused; stretch; crop",
         "gates.accuracy": "limit: the log loss of saying each class's share"},
    )  # fmt: skip


def _form(seen: Images) -> tuple[dict[str, Any], list[str]]:
    """Return how files become arrays, by the sizes and colours of those that can be read."""
    sizes, colours = [], 0
    for content in seen.rows[IMAGE]:
        try:
            with PIL.Image.open(BytesIO(content or b""), formats=FORMATS) as image:
                sizes.append(image.size)
                colours += image.mode not in ("1", "L", "LA") and not image.mode.startswith("I")
        except Exception:  # noqa: BLE001, S112 whatever Pillow says: the checks tell of it
            continue
    if not sizes:
        raise DataError(f"{seen.file}: none of the files can be read as an image")
    widths, heights = (sorted(size[axis] for size in sizes) for axis in (0, 1))
    same = widths[0] == widths[-1] and heights[0] == heights[-1]
    channels = 3 if colours else 1
    colour = "colour" if colours else "grey"
    if same and LARGEST >= min(sizes[0]) > 3 and max(sizes[0]) <= LARGEST:
        height, width = heights[0], widths[0]
        fit, how = "exact", f"all of {height} × {width} pixels, {colour}: files of another size are refused (fit)"
    else:
        middle = min(widths[len(widths) // 2], heights[len(heights) // 2])
        height = width = max(side for side in SIDES if side <= max(middle, SIDES[0]))
        fit = "crop"
        span = f"{heights[0]} to {heights[-1]} × {widths[0]} to {widths[-1]}"
        how = f"{span} pixels, {colour}: models read their middle, scaled to {height} × {width} (height, width, fit)"
    return {"height": height, "width": width, "channels": channels, "fit": fit}, [f"images: {how}"]


def _section(name: str, seen: Images, problem: Mapping[str, Any], rows: int, limit: float) -> dict[str, Any]:
    pixels = rows * problem["height"] * problem["width"]
    epochs = int(min(24, max(4, SEEN // (0.7 * pixels))))
    training = {"epochs": epochs, "batch_size": 64, "learning_rate": 0.003, "weight_decay": 0.01, "patience": 8}
    augment = {"kind": "move", "shift": max(1, problem["height"] // 16)}
    student = {
        "model": {"kind": "resnet", "blocks": [1, 1, 1], "width": 12},
        "training": {**training, "learning_rate": 0.005},
        "augment": augment,
    }
    return {
        **common(f"What an image of {name} shows", seen.file),
        "source": dict(seen.source),
        "problem": dict(problem),
        "checks": {},
        "teachers": {
            "fast": {"model": {"kind": "fast", "widths": [32, 64, 64]}, "training": training, "augment": augment},
        },
        "students": {
            "student": {**student, "alpha": 0.5, "temperature": 2.0}, "twin": {**student, "alpha": 1.0}
        },
        "prefer": "accuracy",
        "recipes": {
            "int8-static": {"steps": [{"kind": "int8-static", "convolutions": True}]},
            "int8-weights": {"steps": [{"kind": "int8-weights"}]},
        },
        "gates": {
            "accuracy": {
                "limit": limit, "naive_margin": 0.05, "retention": 1.5, "champion_margin": 0.1, "max_gain": 0.999
            },
            "segments": {"by": ["class"], "limit": 0.5, "min_rows": 20},
            "size": {"max_bytes": 262_144},
            "latency": {"batch": 1, "threads": 1, **_latency(problem)},
            "parity": {"tolerance": 0.1},
            "robustness": [
                {"kind": "noise", "level": 0.02, "limit": 2},
                {"kind": "brightness", "level": -0.1, "limit": 2},
                {"kind": "jpeg", "level": 0.1, "limit": 2},
            ],
        },
    }  # fmt: skip


def _latency(problem: Mapping[str, Any]) -> dict[str, int]:
    """Return limits of the gate: the proposed student takes two reference models' time, and one more for 54 pixels."""
    usual = 2 + problem["height"] * problem["width"] / 54
    slowest = math.ceil(SLOWER * usual)
    return {"max_p50_ratio": slowest, "max_p95_ratio": UNEVEN * slowest}
