"""A dataset of images keeps their pixels as bytes in one file, of which rows are read as they are needed."""

import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.core.files import read_json, write_json
from tasks.problems.base import Dataset, FeatureContract, Inputs, Raw, Rows, rows_within
from tasks.problems.blocks.splits import LEFT_OUT, SPLITS, by_hash, by_time, with_validation
from tasks.problems.contracts import contract_from_json, contract_to_json, differing_options
from tasks.problems.vision.checks import label_numbers
from tasks.problems.vision.files import LABELS, PLACE, Part, known, named, parts
from tasks.problems.vision.options import CLASS, IMAGE, Options, parse_options

SPLIT, GROUP, LABEL = "_split", "_group", "_label"
PIXELS, ROWS = "images.npy", "rows.parquet"
SAME = ("label", "image", "classes", "group", "time", "valid_share", "test_share")
"""These options define the prediction and its rows."""
REBUILT = ("height", "width", "channels", "fit")
DIGITS = 9

Images = NDArray[np.uint8]


class LabelledImages(Dataset):
    """LabelledImages has the `rows` of all splits, and their pixels `images` (rows, height, width, channels), uint8.

    `scratch`: a folder that lasts as long as the pixels are read from it. `segments`: those of the rows, where another
    contract than that of the table is read under; None: the table's.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        images: Images,
        contract: FeatureContract,
        scratch: Any = None,
        segments: Mapping[str, NDArray[np.str_]] | None = None,
    ) -> None:
        self.rows, self.images, self.contract, self._scratch = rows, images, contract, scratch
        self.options = parse_options(contract.settings["options"])
        self.splits = {name: np.flatnonzero((rows[SPLIT] == name).to_numpy()).astype(np.int64) for name in SPLITS}
        self.groups = rows[GROUP].to_numpy().astype(np.int64)
        self.labels = rows[LABEL].to_numpy().astype(np.int64)
        self.segments = self._segments() if segments is None else segments

    def _segments(self) -> dict[str, NDArray[np.str_]]:
        found = {CLASS: np.array(self.options.classes)[self.labels]}
        for name in self.options.by:
            found[name] = self.rows[name].cast(pl.String).fill_null("null").to_numpy().astype(np.str_)
        return found

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        return {IMAGE: np.asarray(self.images[rows])}

    def target(self, rows: Rows) -> NDArray[np.int64]:
        """Return (n,) numbers of classes."""
        return self.labels[rows]

    def under(self, contract: FeatureContract, raw: Raw | None = None) -> "LabelledImages":
        """Return these rows under another contract; of another size or form the files are read again.

        Segments, and the size of a file that is still read, stay tonight's. Raises ValueError saying what differs.
        """
        theirs = parse_options(contract.settings["options"])
        differing = differing_options(theirs, self.options, SAME if raw else SAME + REBUILT, REBUILT)
        if not differing or raw is None:
            return LabelledImages(self.rows, self.images, contract, self._scratch, self.segments)
        read = theirs.model_copy(update={"most_pixels": self.options.most_pixels})
        raw.require(LABELS, (theirs.image,), "images")
        wanted = self.rows[PLACE].to_numpy()
        found = _Pixels(read, len(wanted))
        for part in parts(known(raw.tables[LABELS], read, raw.as_of), read):
            chosen = np.isin(part.rows[PLACE].to_numpy(), wanted)
            if odd := next((fault for fault, mine in zip(part.faults, chosen, strict=True) if mine and fault), None):
                raise ValueError(f"its images cannot be made: a file is {odd}")
            found.add(part.images[chosen])
        return LabelledImages(self.rows, found.array, contract, found.scratch, self.segments)

    def newest(self) -> "LabelledImages":
        """Return the same rows, those that validated among the ones to train on."""
        return LabelledImages(
            with_validation(self.rows, SPLIT), self.images, self.contract, self._scratch, self.segments
        )

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rows.write_parquet(folder / ROWS)
        file = getattr(self.images, "filename", None)
        if file is not None:
            shutil.copyfile(file, folder / PIXELS)
        else:
            np.save(folder / PIXELS, self.images)
        write_json(folder / "contract.json", contract_to_json(self.contract))


class _Pixels:
    """These are the pixels of `count` rows, in a file of a folder of their own."""

    def __init__(self, options: Options, count: int) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="nightstill-images-")
        path = Path(self.scratch.name) / PIXELS
        self.array: Images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, *options.field.shape))
        self._filled = 0

    def add(self, images: Images) -> None:
        self.array[self._filled : self._filled + len(images)] = images
        self._filled += len(images)


def load_images(folder: Path) -> LabelledImages:
    """Load the dataset that `LabelledImages.save` wrote; pixels stay on the disk until they are asked for."""
    rows = pl.read_parquet(folder / ROWS, glob=False)
    images: Images = np.load(folder / PIXELS, mmap_mode="r")
    return LabelledImages(rows, images, contract_from_json(read_json(folder / "contract.json")))


def build_images(table: pl.LazyFrame, options: Options) -> LabelledImages:
    """Build the dataset of a `known` table's rows with a label.

    Raises DataError when there are too few, or a file cannot be read.
    """
    for role, name in [("label", options.label), *(("segment", name) for name in options.by)]:
        if name not in table.collect_schema():
            raise DataError(f"{name}: the table has no such column, and training needs the {role}")
    labelled = table.select(pl.col(options.label).count()).collect(engine="streaming").item()
    pixels = _Pixels(options, labelled)
    kept = [_kept(part, options, pixels) for part in parts(table, options)]
    if not kept or not sum(map(len, kept)):
        raise DataError(f"{options.label}: no row has a label")
    rows = pl.concat(kept)
    keys = rows["_key"]
    rows = rows.with_columns(
        pl.Series(SPLIT, _split_of(rows, keys, options).astype(np.str_)),
        keys.rank("dense").cast(pl.Int64).alias(GROUP),
    ).select(PLACE, SPLIT, GROUP, LABEL, *options.by)
    stays = np.flatnonzero((rows[SPLIT] != LEFT_OUT).to_numpy())
    if len(stays) < len(pixels.array):
        pixels, rows = _of(pixels, stays, options), rows[stays]
    images = pixels.array
    contract = contract_of(images, rows, options)
    return LabelledImages(rows, images, contract, pixels.scratch)


def _kept(part: Part, options: Options, pixels: _Pixels) -> pl.DataFrame:
    """Keep the pixels of the rows that have a label and can be read; return these rows with LABEL and a key."""
    rows = part.rows.with_columns(
        label_numbers(part.rows[options.label], options).alias(LABEL),
        pl.Series("_key", part.digests, pl.String),
        pl.Series("_fault", part.faults, pl.String),
    )
    labelled = rows.filter(pl.col(options.label).is_not_null())
    broken = labelled.filter(pl.col("_fault") != "")
    if broken.height and not options.max_unreadable:
        first = broken.row(0, named=True)
        raise DataError(f"{options.image}: {named(first, options)}: the file is {first['_fault']}")
    if (odd := labelled.filter(pl.col(LABEL).is_null())).height:
        raise DataError(f"{options.label}: {odd[options.label][0]!r} is none of problem.classes")
    for role, name in (("time", options.time), ("group", options.group)):
        if name and (name not in rows.columns or labelled[name].null_count()):
            raise DataError(f"{name}: missing or null in rows with a label; each of them needs its {role}")
    if options.group:
        rows = rows.with_columns(pl.col(options.group).cast(pl.String).alias("_key"))
    stays = rows.select(pl.col(options.label).is_not_null() & (pl.col("_fault") == "")).to_series()
    pixels.add(part.images[stays.to_numpy()])
    return rows.filter(stays).drop("_fault", options.label)


def _of(pixels: _Pixels, places: NDArray[np.int64], options: Options) -> _Pixels:
    """Return the pixels at these places: a group's earlier rows and unreadable files are left out."""
    found = _Pixels(options, len(places))
    size = rows_within(int(np.prod(options.field.shape)))
    for start in range(0, len(places), size):
        found.add(pixels.array[places[start : start + size]])
    return found


def _split_of(rows: pl.DataFrame, keys: pl.Series, options: Options) -> NDArray[np.str_]:
    shares = options.valid_share, options.test_share
    if options.time:
        moments = rows[options.time].cast(pl.Date).to_physical()
        splits = by_time(moments, keys if options.group else None, *shares)
    else:
        splits = by_hash(keys, *shares)
    for name in SPLITS:
        if not (splits == name).any():
            how = f"by {options.time}" if options.time else "by hash"
            raise DataError(f"{options.label}: no {name} row among {len(rows)} labelled ones split {how}; deliver more")
    return splits


def contract_of(images: Images, rows: pl.DataFrame, options: Options) -> FeatureContract:
    """Return the contract as the training rows make it."""
    train = np.flatnonzero((rows[SPLIT] == "train").to_numpy())
    count, total, squares = 0, np.zeros(options.channels), np.zeros(options.channels)
    size = rows_within(4 * int(np.prod(options.field.shape)))
    for start in range(0, len(train), size):
        values = images[train[start : start + size]].reshape(-1, options.channels) / 255.0
        count, total, squares = count + len(values), total + values.sum(axis=0), squares + (values**2).sum(axis=0)
    mean = total / count
    scale = np.sqrt(np.maximum(squares / count - mean**2, 0))
    counts = np.bincount(rows[LABEL].to_numpy()[train], minlength=len(options.classes)) + 1.0
    return make_contract(options, mean, [value or 1.0 for value in map(_rounded, scale)], counts / counts.sum())


def make_contract(
    options: Options, mean: Iterable[Any], scale: Iterable[Any], shares: Iterable[Any]
) -> FeatureContract:
    """Return the contract of models of images; `mean` and `scale` by channel are those of values from 0 to 1."""
    field = options.field
    return FeatureContract(
        problem="vision",
        inputs={IMAGE: (field.dtype, field.shape)},
        output_shape=(len(options.classes),),
        statistics={name: _all(values) for name, values in (("mean", mean), ("scale", scale), ("shares", shares))},
        settings={"options": options.model_dump(mode="json"), "classes": list(options.classes)},
        images={IMAGE: {"fit": field.fit, "most_pixels": field.most_pixels}},
    )


def _all(values: Iterable[Any]) -> Sequence[float]:
    return [_rounded(value) for value in values]


def _rounded(value: Any) -> float:
    """Keep nine digits: the last ones of a sum depend on the order in which it was taken."""
    return float(f"{float(value):.{DIGITS}g}")
