"""A dataset of texts keeps the texts themselves, so that it can be read under another release's contract."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.contract import Tokens
from serving.contract.tokens import words_of
from tasks.core.errors import DataError
from tasks.core.files import read_json, write_json
from tasks.problems.base import Dataset, FeatureContract, Inputs, Raw, Rows, rows_within
from tasks.problems.blocks.splits import LEFT_OUT, SPLITS, by_hash, by_time, with_validation
from tasks.problems.contracts import contract_from_json, contract_to_json, differing_options
from tasks.problems.text.options import Options, parse_options

ROWS = "rows"
"""The raw table has this name."""
GRAMS, WORDS = "grams", "words"
"""The model's inputs are called so: the set of all tokens of a text, and its words in order."""
PLACE, SPLIT, GROUP, LABEL = "_place", "_split", "_group", "_label"
BY_LABEL = "label"
"""The segment of a row's own class is called so."""
SAME = ("text", "target", "classes", "other", "group", "time", "split", "valid_share", "test_share")
"""These options define the prediction and its rows; how a text is cut into tokens may differ."""

Numbers = NDArray[np.int64]


class Texts(Dataset):
    """Texts has a `table` of the labelled rows, and the texts `unlabelled`, which only teachers tell something of.

    `segments`: those of the rows, where another contract than that of the table is read under; None: the table's.
    """

    def __init__(
        self,
        table: pl.DataFrame,
        unlabelled: pl.Series,
        contract: FeatureContract,
        segments: Mapping[str, NDArray[np.str_]] | None = None,
    ) -> None:
        self.table, self.unlabelled, self.contract = table, unlabelled, contract
        self.options = parse_options(contract.settings["options"])
        self.texts: list[str] = table[self.options.text].to_list()
        self.splits = {name: np.flatnonzero((table[SPLIT] == name).to_numpy()).astype(np.int64) for name in SPLITS}
        self.groups = table[GROUP].to_numpy().astype(np.int64)
        self._target = table[LABEL].to_numpy().astype(np.int64)
        self.segments = self._segments() if segments is None else segments
        self._encoded: dict[str, NDArray[np.int32]] = {}

    def _segments(self) -> dict[str, NDArray[np.str_]]:
        names = np.array(self.options.classes)
        return {BY_LABEL: names[self._target].astype(np.str_)} | {
            name: self.table[name].cast(pl.String).fill_null("null").to_numpy().astype(np.str_)
            for name in self.options.segments
        }

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        """Return numbers of tokens: all texts' are made at the first call, and kept."""
        found: Inputs = {}
        for name, field in self.contract.tokens.items():
            if not names or name in names:
                if name not in self._encoded:
                    self._encoded[name] = self._numbers(field)
                found[name] = self._encoded[name][rows].astype(np.int64)
        return found

    def _numbers(self, field: Tokens) -> NDArray[np.int32]:
        found = np.empty((len(self.texts), field.length), np.int32)
        size = rows_within(8 * field.length)
        for start in range(0, len(found), size):
            found[start : start + size] = field.encode(self.texts[start : start + size])
        return found

    def target(self, rows: Rows) -> Numbers:
        """Return (n,) numbers of classes."""
        return self._target[rows]

    def under(self, contract: FeatureContract, raw: Raw | None = None) -> "Texts":
        """Return the same rows with texts cut into tokens as another contract says. Raises ValueError.

        A text that is too long for the other contract is cut to what it allows; segments stay tonight's.
        """
        theirs = parse_options(contract.settings["options"])
        differing_options(theirs, self.options, SAME, ())
        table = self.table.with_columns(pl.col(theirs.text).str.slice(0, theirs.longest))
        return Texts(table, self.unlabelled, contract, self.segments)

    def newest(self) -> "Texts":
        """Return the same rows, those that validated among the ones to train on; their tokens are not made again."""
        found = Texts(with_validation(self.table, SPLIT), self.unlabelled, self.contract, self.segments)
        found._encoded = self._encoded
        return found

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.table.write_parquet(folder / "rows.parquet")
        self.unlabelled.to_frame().write_parquet(folder / "unlabelled.parquet")
        write_json(folder / "contract.json", contract_to_json(self.contract))


def load_texts(folder: Path) -> Texts:
    """Load the dataset that `Texts.save` wrote."""
    table, unlabelled = (pl.read_parquet(folder / f"{name}.parquet", glob=False) for name in ("rows", "unlabelled"))
    return Texts(table, unlabelled.to_series(), contract_from_json(read_json(folder / "contract.json")))


def build_texts(table: pl.DataFrame, options: Options) -> Texts:
    """Build the dataset; `table` has PLACE, that of a row in the raw table. Raises DataError when a split is empty."""
    roles = [("target", options.target), ("group", options.group), ("split", options.split), ("time", options.time)]
    for role, name in [*roles, *(("segment", name) for name in options.segments)]:
        if name and name not in table.columns:
            raise DataError(f"{name}: the table has no such column, and training needs the {role}")
    known = pl.col(options.target).is_not_null()
    rows, unlabelled = table.filter(known), table.filter(~known)[options.text]
    if rows.is_empty():
        raise DataError(f"{options.target}: no row has a label")
    if options.group and (empty := rows[options.group].null_count()):
        raise DataError(f"{options.group}: null in {empty} rows with a label; each of them needs its group")
    keys = keys_of(rows, options)
    rows = rows.with_columns(
        pl.Series(LABEL, labels_of(rows[options.target], options)),
        pl.Series(SPLIT, _split_of(rows, keys, options)),
        pl.Series(GROUP, keys.rank("dense")).cast(pl.Int64),
    )
    rows = rows.filter(pl.col(SPLIT) != LEFT_OUT).select(
        PLACE, SPLIT, GROUP, LABEL, options.text, *dict.fromkeys(options.segments)
    )
    for name in SPLITS:
        if name not in rows[SPLIT]:
            raise DataError(f"{options.target}: no {name} row among {len(rows)} labelled ones; deliver more")
    label = rows.filter(pl.col(SPLIT) == "train")[LABEL].to_numpy()
    counts = np.bincount(label, minlength=len(options.classes)) + 1.0
    return Texts(rows, unlabelled, make_contract(options, (counts / counts.sum()).tolist()))


def keys_of(rows: pl.DataFrame, options: Options) -> pl.Series:
    """Return (rows,) text by which rows belong together: the group, or the normalised text itself."""
    if options.group:
        return rows[options.group].cast(pl.String)
    return pl.Series([" ".join(words_of(text)) for text in rows[options.text]], dtype=pl.String)


def _split_of(rows: pl.DataFrame, keys: pl.Series, options: Options) -> NDArray[np.str_]:
    shares = options.valid_share, options.test_share
    if options.split is not None:
        return rows[options.split].fill_null(LEFT_OUT).to_numpy().astype(np.str_)
    if options.time is None:
        return by_hash(keys, *shares).astype(np.str_)
    moments = rows[options.time].cast(pl.Date).to_physical()
    if moments.null_count():
        raise DataError(f"{options.time}: null in {moments.null_count()} rows; each needs its time")
    return by_time(moments, keys if options.group else None, *shares).astype(np.str_)


def labels_of(target: pl.Series, options: Options) -> Numbers:
    """Return (rows,) numbers of classes. Raises DataError naming a text that is no class."""
    numbers = {name: place for place, name in enumerate(options.classes)}
    found = target.replace_strict(numbers, default=None, return_dtype=pl.Int64)
    if found.null_count():
        odd = target.filter(found.is_null())
        raise DataError(f"{options.target}: {odd[0]!r} in {len(odd)} rows is none of problem.classes")
    return found.to_numpy()


def fields_of(options: Options) -> dict[str, Tokens]:
    """Return how texts become the inputs of models."""
    common = {"column": options.text, "buckets": options.buckets, "longest": options.longest}
    return {
        GRAMS: Tokens(GRAMS, length=options.length, words=options.runs, letters=options.letters, once=True, **common),  # type: ignore[arg-type]
        WORDS: Tokens(WORDS, length=options.words, **common),  # type: ignore[arg-type]
    }


def make_contract(options: Options, shares: Sequence[float]) -> FeatureContract:
    """Return the contract of models on texts; `shares`: of the classes in training."""
    fields = fields_of(options)
    return FeatureContract(
        problem="text",
        inputs={name: (field.dtype, field.shape) for name, field in fields.items()},
        output_shape=(len(options.classes),),
        statistics={"shares": [float(f"{share:.9g}") for share in shares]},
        settings={"options": options.model_dump(mode="json")},
        tokens=fields,
    )
