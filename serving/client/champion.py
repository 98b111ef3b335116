"""This module loads the champion of a workload: verified before it is used, followed when the ledger grows."""

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.client.cache import Cache, default_folder
from serving.client.errors import IntegrityError, NoRelease, ServingError, UnavailableError
from serving.client.origin import SMALL, open_origin
from serving.client.release import CONTRACT, MANIFEST, MODEL, PROFILE, SIGNATURE, Ledger, Release, digests, sha256
from serving.client.signature import TrustedKeys
from serving.contract import Contract, InputError
from serving.contract.choice import chosen, raw_ids, require_count
from serving.contract.labels import Told, told
from serving.contract.onnx_file import require_self_contained

DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint64)": "uint64",
    "tensor(uint32)": "uint32",
    "tensor(uint16)": "uint16",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}

LIMITS = {CONTRACT: 64 << 20, PROFILE: 64 << 20, MODEL: 2 << 30}
TEXTS = 1024
"""So many texts are made numbers and read at once."""
IMAGES_BYTES = 64 * 2**20
"""Images of so many bytes are read at once."""
Input = TypeVar("Input")
SCORES_BYTES = 16 << 20
"""Scores of a whole catalogue are held for so many users at once as fit in this."""

log = logging.getLogger(__name__)


class Model:
    """A model is a loaded release: its ledger entry, contract and ONNX file. Never changes; safe in many threads.

    `files`: the release's other fetched files, by name; contract.json always.
    """

    def __init__(
        self, release: Release, contract: Contract, data: bytes, threads: int, files: Mapping[str, bytes] | None = None
    ) -> None:
        self.release, self.contract, self.files = release, contract, dict(files or {})
        require_self_contained(data)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._output = self._session.get_outputs()[0].name  # further ones name the best of it
        self.names = tuple(item.name for item in self._session.get_inputs())
        for item in self._session.get_inputs():
            expected = contract.inputs.get(item.name)
            if expected is None or (DTYPES.get(item.type), tuple(item.shape[1:])) != (expected.dtype, expected.shape):
                raise ValueError(f"it asks for {item.name}: {item.type}, {item.shape}; the contract says {expected}")

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return (rows, *output_shape) of inputs (rows, *shape) under the contract. Raises InputError with the name."""
        rows = self.contract.check(inputs, self.names)
        if not rows:
            return np.empty((0, *self.contract.output_shape), np.float32)
        size = self.contract.most_rows or rows
        parts = [slice(start, start + size) for start in range(0, rows, size)]
        try:
            found = [
                self._session.run([self._output], {name: inputs[name][part] for name in self.names})[0]
                for part in parts
            ]
        except Exception as error:
            # ONNX Runtime has no common base of its errors. The model is sound, so it is these values that it refuses.
            raise InputError("", f"the model refuses these values: {' '.join(str(error).split())[:200]}") from error
        output: NDArray[np.float32] = found[0] if len(found) == 1 else np.concatenate(found)
        finite = np.isfinite(output).reshape(rows, -1).all(axis=1)
        if not finite.all():
            raise InputError("", f"row {int(finite.argmin())}: the output is not finite; no training saw such inputs")
        return output

    def predict_texts(self, texts: Sequence[str]) -> list[Told]:
        """Return the label of each text, with the chances of all: texts become numbers as in training.

        Raises InputError where the release does not read texts alone, or one is no text or too long.
        """
        fields, classes = self.contract.texts, self.contract.classes
        if isinstance(texts, str):
            raise InputError("", "one text; expected a list of texts")
        if not classes or not set(self.names) <= set(fields):
            raise InputError("", f"a release of {self.contract.problem} does not tell the label of a text")
        parts = [texts[start : start + TEXTS] for start in range(0, len(texts), TEXTS)]
        for number, part in enumerate(parts):
            for row, text in enumerate(part):
                fields[self.names[0]].require(text, number * TEXTS + row)
        outputs = (self.predict({name: fields[name].encode(part) for name in self.names}) for part in parts)
        return [one for output in outputs for one in told(output, classes)]

    def predict_images(self, files: Sequence[bytes]) -> list[Told]:
        """Return the label of each JPEG or PNG file, with the chances of all: files become arrays as in training.

        Raises InputError where the release does not read images alone, or naming the first file that is none.
        """
        fields, classes = self.contract.images, self.contract.classes
        given: object = files
        if isinstance(given, bytes | bytearray | str):
            raise InputError("", "one file; expected a list of the bytes of files")
        if not classes or not set(self.names) <= set(fields):
            raise InputError("", f"a release of {self.contract.problem} does not tell the label of an image")
        size = max(1, IMAGES_BYTES // max(math.prod(fields[name].shape) for name in self.names))
        found: list[Told] = []
        for start in range(0, len(files), size):
            part = files[start : start + size]
            found += told(self.predict({name: fields[name].encode(part, start) for name in self.names}), classes)
        return found

    def recommend(
        self, histories: Sequence[Sequence[Any]], count: int, see: Callable[[NDArray[np.float32]], None] | None = None
    ) -> list["Recommended"]:
        """Return for each history of raw ids, the last one at the end, the `count` best items that are not in it.

        Ids are texts or whole numbers, which the tables have as texts. Of an item that stands in a history several
        times the first place counts, as in training, unless the release has `repeats`. `see` is given all scores
        (rows, items) of the model. Raises InputError where the release ranks nothing, or a history or `count` is none.
        """
        if len(self.contract.histories) != 1 or not self.contract.choice:
            raise InputError("", f"a release of {self.contract.problem} has no items to recommend")
        require_count(count)
        given = [raw_ids(row, history) for row, history in enumerate(histories)]
        size = max(1, SCORES_BYTES // (4 * self.contract.output_shape[0] or 1))
        return [
            answer
            for start in range(0, len(given), size)
            for answer in self._recommend(given[start : start + size], count, see)
        ]

    def _recommend(
        self, histories: list[list[str]], count: int, see: Callable[[NDArray[np.float32]], None] | None
    ) -> list["Recommended"]:
        (field,) = self.contract.histories.values()
        if not self.contract.repeats:
            histories = [list(dict.fromkeys(history)) for history in histories]
        known = [field.known(history) for history in histories]
        answers = []
        output = self.predict({field.name: field.encode(known)})
        if see is not None:
            see(output)
        for given, codes, scores in zip(histories, known, output, strict=True):
            popular = not codes
            line = np.zeros_like(scores) if popular else scores  # codes are in the order of popularity
            places = chosen(line, () if self.contract.repeats else [code - field.book.first for code in codes], count)
            items = tuple(field.book.values[place] for place in places)
            answers.append(Recommended(items, tuple(map(float, line[places])), len(given) - len(codes), popular))
        return answers


@dataclass(frozen=True)
class Recommended:
    """Recommended is one user's answer: ids of items, the best first, and their scores.

    `unknown`: how many items of the history the release does not know; they count for nothing. `popular`: nothing of
    the history is left, so these are the most popular items, and their scores are zero.
    """

    items: tuple[Any, ...]
    scores: tuple[float, ...]
    unknown: int
    popular: bool


class Champion:
    """A champion follows its workload's ledger by `refresh`. Threads may predict while another one refreshes.

    `model`: the model loaded now, for a caller whose release and outputs must belong together.
    `problem`: why the ledger's newest state is not loaded, in one line; empty when it is.
    """

    def __init__(
        self,
        uri: str,
        workload: str,
        cache: Path,
        trusted_keys: TrustedKeys | None,
        threads: int,
        files: Collection[str] = (),
    ) -> None:
        self.workload = workload
        self.problem = ""
        self._origin = open_origin(uri)
        self._ledger = Ledger(self._origin, workload)
        self._cache = Cache(cache, self._origin.uri, workload)
        self._keys, self._threads, self._files = trusted_keys, threads, (MODEL, CONTRACT, *files)
        self._lock = threading.Lock()
        self._known: Release | None = None
        self.model = self._first()

    @classmethod
    def open(
        cls,
        uri: str,
        workload: str,
        *,
        cache: str | Path | None = None,
        trusted_keys: str | Path | None = None,
        threads: int = 1,
        files: Collection[str] = (),
    ) -> "Champion":
        """Fetch, verify and load the champion.

        `uri`: the store of releases, a folder or `s3://bucket/prefix`. `cache`: a folder that processes may share;
        default: `nightstill` in the user's cache folder. `trusted_keys`: PEM file (or text) of Ed25519 public keys, one
        of which must have signed the release. `threads`: of ONNX Runtime for one call. `files`: further files of the
        release for `model.files`, verified like the model; one that a release does not have is left out.

        When the store does not answer, the champion that the cache holds is loaded, with a warning. Raises NoRelease,
        UnavailableError (nothing in the cache either), IntegrityError (a digest or signature does not hold),
        SettingError.
        """
        keys = None if not trusted_keys else TrustedKeys.load(trusted_keys)
        return cls(uri, workload, default_folder() if cache is None else Path(cache), keys, threads, files)

    @property
    def release(self) -> Release:
        """Return the release that is loaded."""
        return self.model.release

    @property
    def contract(self) -> Contract:
        """Return its feature contract."""
        return self.model.contract

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return (rows, *output_shape) of inputs (rows, *shape) under the contract. Raises InputError with the name."""
        return self.model.predict(inputs)

    def predict_texts(self, texts: Sequence[str]) -> list[Told]:
        """Return the label of each text, with the chances of all. Raises InputError."""
        return self.model.predict_texts(texts)

    def predict_images(self, files: Sequence[bytes]) -> list[Told]:
        """Return the label of each JPEG or PNG file, with the chances of all. Raises InputError."""
        return self.model.predict_images(files)

    def recommend(self, history: Sequence[Any], k: int = 10) -> Recommended:
        """Return the `k` best items for a user's history of raw ids, the last one at the end. Raises InputError."""
        return self.model.recommend([history], k)[0]

    def encode(self, values: Mapping[str, Sequence[Any]], name: str | None = None) -> NDArray[np.int64]:
        """Return category codes (rows, columns) for `predict`, of each column's raw values: as training encodes them.

        `name`: the input, where the contract has several that hold codes. A value that training did not see gets the
        code for unknown. Raises InputError naming the column.
        """
        return _one_of(self.contract.coded, name, "codes").encode(values)

    def read_images(self, files: Sequence[bytes], name: str | None = None) -> NDArray[np.uint8]:
        """Return images (files, height, width, channels) for `predict`, of the bytes of JPEG and PNG files.

        They are read as training reads them. `name`: the input, where the contract has several that hold images. Raises
        InputError naming the first file that is none, ServingError without the library Pillow.
        """
        return _one_of(self.contract.images, name, "images").encode(files)

    def refresh(self) -> bool:
        """Load the ledger's newest champion if it is another one. Returns whether it did.

        Costs two small reads when nothing was appended. If the store or the new release is faulty, the loaded
        one goes on; `problem` and a warning say why.
        """
        with self._lock:
            try:
                newest = self._ledger.last(self._known)
                if newest is None:
                    raise IntegrityError(f"{self._origin.uri}: the ledger of {self.workload} is gone; restore it")
                swapped = newest.manifest_sha256 != self.release.manifest_sha256
                if newest != self.release:
                    self._swap(newest)
            except ServingError as error:
                if str(error) != self.problem:
                    log.warning("%s: release %s goes on: %s", self.workload, self.release.number, error)
                self.problem = str(error)
                return False
            self.problem = ""
            return swapped

    def _swap(self, newest: Release) -> None:
        self.model, signature = self._load(newest)
        self._known = newest
        self._cache.remember(newest, signature)
        log.info("%s: release %s by ledger entry %s (%s)", self.workload, newest.number, newest.entry, newest.kind)

    def _first(self) -> Model:
        cached = self._cache.champion()
        try:
            newest = self._ledger.last(cached[0] if cached else None)
            if newest is None:
                raise NoRelease(
                    f"{self._origin.uri}: no release of {self.workload!r} yet; is the workload's name right?"
                )
            model, signature = self._load(newest)
        except UnavailableError as error:
            if cached is None:
                raise
            return self._offline(*cached, error)
        self._known = newest
        self._cache.remember(newest, signature)
        return model

    def _offline(self, release: Release, signature: bytes | None, error: UnavailableError) -> Model:
        """Return the champion of the cache. Raises `error` if the cache does not hold all of it."""
        self.problem = str(error)
        manifest = self._cache.get(release.manifest_sha256)
        if manifest is None:
            raise error
        if self._keys is not None:
            self._keys.check(self.workload, manifest, signature, self._name(release))
        wanted = self._wanted(release, manifest)
        files = {name: data for name, digest in wanted.items() if (data := self._cache.get(digest)) is not None}
        if len(files) < len(wanted):
            raise error
        log.warning("%s: release %s from the cache: %s", self.workload, release.number, error)
        self._known = release
        return self._model(release, files)

    def _load(self, release: Release) -> tuple[Model, bytes | None]:
        """Fetch the files that the cache lacks, and check all of them."""
        manifest = self._fetch(release, MANIFEST, release.manifest_sha256, keep=False)
        signature = None
        if self._keys is not None:
            try:
                signature = self._origin.read(f"{release.files}/{SIGNATURE}")
            except KeyError:
                signature = None
            self._keys.check(self.workload, manifest, signature, self._name(release))
        wanted = self._wanted(release, manifest)
        self._cache.put(manifest)
        files = {name: self._fetch(release, name, digest) for name, digest in wanted.items()}
        return self._model(release, files), signature

    def _wanted(self, release: Release, manifest: bytes) -> dict[str, str]:
        """Return the digests of the model, the contract and the further files, as far as the release has these."""
        try:
            found = digests(manifest)
        except ValueError:
            found = {}
        wanted = {name: found[name] for name in self._files if name in found}
        if not {MODEL, CONTRACT} <= wanted.keys():
            raise IntegrityError(f"{self._name(release)}: its manifest does not list a model and a contract")
        if wanted[MODEL] != release.model_sha256:
            raise IntegrityError(f"{self._name(release)}: its manifest lists another model than the ledger names")
        return wanted

    def _model(self, release: Release, files: Mapping[str, bytes]) -> Model:
        further = {name: data for name, data in files.items() if name != MODEL}
        try:
            return Model(release, Contract.parse(files[CONTRACT]), files[MODEL], self._threads, further)
        except Exception as error:
            # Whatever ONNX Runtime or a contract of another version says, the old release must go on.
            said = " ".join(str(error).split())[:300]
            raise IntegrityError(f"{self._name(release)}: cannot be loaded: {said}; roll back") from error

    def _fetch(self, release: Release, name: str, digest: str, *, keep: bool = True) -> bytes:
        data = self._cache.get(digest)
        if data is None:
            try:
                data = self._origin.read(f"{release.files}/{name}", LIMITS.get(name, SMALL))
            except KeyError:
                raise IntegrityError(
                    f"{self._name(release)}: {name} is missing; restore it from a copy, or roll back"
                ) from None
            if sha256(data) != digest:
                raise IntegrityError(
                    f"{self._name(release)}: {name} is not what was released (SHA-256 {sha256(data)[:16]}…, not "
                    f"{digest[:16]}…); restore it from a copy, or roll back"
                )
            if keep:  # a manifest only once its signature holds
                self._cache.put(data)
        return data

    def _name(self, release: Release) -> str:
        return f"{self.workload} release {release.number} ({self._origin.uri}/{release.files})"


def _one_of(fields: Mapping[str, Input], name: str | None, what: str) -> Input:
    """Return the input of a name; without one, the only input. Raises InputError where that is none of them."""
    only = next(iter(fields)) if len(fields) == 1 else ""
    name = only if name is None else name
    if name not in fields:
        raise InputError(name, f"name an input that holds {what}; there are: {', '.join(fields) or 'none'}")
    return fields[name]
