"""Each row is a (series, origin): windows are gathered from the panel on demand, split by the time of their targets."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tasks.core.errors import DataError, IntegrityError
from tasks.core.files import read_json, write_json
from tasks.problems.base import Clusters, Dataset, FeatureContract, Floats, Inputs, Raw, Rows, Split
from tasks.problems.contracts import contract_from_json, contract_to_json, differing_options
from tasks.problems.forecasting.covariates import KNOWN
from tasks.problems.forecasting.options import Options, parse_options
from tasks.problems.forecasting.panel import SERIES, Panel, build_panel
from tasks.problems.forecasting.windows import (
    PHASE,
    code_books,
    encode,
    gather,
    make_contract,
    statistics_of,
    targets,
)

SAME = ("horizon", "frequency", "quantiles", "series")
"""These options define the forecast. The expected value may stand beside it or not: see `Windows.answers`."""
COVARIATES = ("price", "promotions", "covariates")
REBUILT = ("context", "season", "static", "numbers", *COVARIATES, "categories", "country")
"""These options define the inputs."""
FEW_SERIES = 20
STRETCH = 4
FEW_STRETCHES = 10
FEW_BLOCKS, MANY_BLOCKS = 5, 20


class Windows(Dataset):
    """Windows is a dataset. `lines`, `origins` (rows,): series and position of the last known day of each row."""

    def __init__(
        self,
        panel: Panel,
        contract: FeatureContract,
        lines: NDArray[np.int64],
        origins: NDArray[np.int64],
        splits: dict[Split, Rows],
    ) -> None:
        self.panel = panel
        self.contract = contract
        self.options = Options.model_validate(contract.settings["options"])
        self.lines = lines
        self.origins = origins
        self.splits = splits
        self.groups = groups_of(lines, origins, len(panel.names), self.options)
        self.segments = {name: values[lines] for name, values in panel.static.items()}
        if missing := [name for name in contract.categories if name not in (PHASE, *panel.static)]:
            raise ValueError(f"its categories {', '.join(missing)} are none of its options' static columns")
        self._codes = encode(panel, {name: tuple(values) for name, values in contract.categories.items()})
        self._chosen = chosen_features(contract, self.options)

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        made = gather(
            self.panel,
            self._codes,
            self.lines[rows],
            self.origins[rows],
            self.options,
            names,
            self.contract.statistics,
        )
        return {
            name: values[:, :, self._chosen[name]] if name in self._chosen else values for name, values in made.items()
        }

    def target(self, rows: Rows) -> Floats:
        return targets(self.panel, self.lines[rows], self.origins[rows], self.options)

    def answers(self, contract: FeatureContract) -> Callable[[Floats], Floats]:
        """Return how outputs under another contract become ours; where it alone has no expected value, the median is.

        A release from before `mean` was forecast is compared with those after it: the median was its point forecast.
        """
        theirs = parse_options(contract.settings["options"])
        if theirs.outputs == self.options.outputs or theirs.quantiles != self.options.quantiles:
            return super().answers(contract)
        median, count = theirs.median, len(theirs.quantiles)
        if theirs.mean:
            return lambda output: output[:, :, :count]
        return lambda output: np.concatenate([output, output[:, :, median : median + 1]], axis=2)

    def taught_by(self, contract: FeatureContract) -> Callable[[Floats], Floats]:
        """Return the same; a median teaches nobody an expected value, so a model without one is refused."""
        if self.options.mean and not parse_options(contract.settings["options"]).mean:
            raise ValueError("it forecasts no mean (problem.mean), tonight's students learn one")
        return self.answers(contract)

    def clusters(self, rows: Rows) -> Clusters:
        """Return series and blocks of target steps: events of one day happen to all series, whatever their origin."""
        steps = self.origins[rows][:, None] + np.arange(1, self.options.horizon + 1)
        length = block_length(int(np.ptp(steps)) + 1, self.options.season, self.options.horizon)
        return Clusters(self.lines[rows], (steps - steps.min()) // length)

    def under(self, contract: FeatureContract, raw: Raw | None = None) -> "Windows":
        """Return these rows under a contract with other code books or scale; features are taken by name.

        What else the inputs are made of (context, season, columns, country) may differ if there is the `raw` table: a
        panel of it is built under the other options. What is forecast must be equal.
        """
        theirs = parse_options(contract.settings["options"])
        equally = COVARIATES if same_covariates(theirs, self.options) else ()
        compared = tuple(name for name in REBUILT if name not in equally)
        differing = differing_options(theirs, self.options, SAME + compared if raw is None else SAME, compared)
        if differing and raw is not None:
            return self._rebuilt(contract, theirs, raw)
        return Windows(self.panel, contract, self.lines, self.origins, dict(self.splits))

    def newest(self) -> "Windows":
        """Return windows whose training origins go on, `stride` apart, to a horizon before the first of the test."""
        train, test = (np.unique(self.origins[self.splits[name]]) for name in ("train", "test"))
        last, stride = test[0] - self.options.horizon, self.options.stride
        origins: dict[Split, Sequence[int]] = {
            "train": [*train.tolist(), *range(int(train[-1]) + stride, int(last) + 1, stride)],
            "test": test.tolist(),
        }
        lines, positions, splits = rows_of(self.panel, self.options, origins)
        found = Windows(self.panel, self.contract, lines, positions, {**splits, "valid": np.empty(0, np.int64)})
        require_earlier(found)
        return found

    def _rebuilt(self, contract: FeatureContract, theirs: Options, raw: Raw) -> "Windows":
        covariates = (column for known in KNOWN for column in theirs.covariates_known(known))
        columns = (*theirs.static, *theirs.numbers, *covariates, *theirs.categories)
        raw.require(SERIES, columns, "inputs")
        # What may be null tonight its model takes as gaps.
        panel = build_panel(raw.tables[SERIES], raw.as_of, theirs, complete=False)
        places = {name: place for place, name in enumerate(panel.names.tolist())}
        if panel.times[-1] != self.panel.times[-1] or not places.keys() >= set(self.panel.names.tolist()):
            raise ValueError("the raw table does not hold the rows of tonight's features")
        lines = np.array([places[name] for name in self.panel.names.tolist()], dtype=np.int64)[self.lines]
        # Both time axes end on the same step; they begin `context` steps before the first row.
        origins = self.origins + len(panel.times) - len(self.panel.times)
        return Windows(panel, contract, lines, origins, dict(self.splits))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {**self.panel.arrays(), "lines": self.lines, "origins": self.origins}
        arrays |= {f"split.{name}": rows for name, rows in self.splits.items()}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "panel.safetensors")
        static, values = (
            {name: texts.tolist() for name, texts in columns.items()}
            for columns in (self.panel.static, self.panel.values)
        )
        names = {"series": self.panel.names.tolist(), "static": static}
        optional = {"values": values, "zone": self.panel.zone}
        write_json(folder / "series.json", names | {name: value for name, value in optional.items() if value})
        write_json(folder / "contract.json", contract_to_json(self.contract))


def groups_of(lines: NDArray[np.int64], origins: NDArray[np.int64], series: int, options: Options) -> NDArray[np.int64]:
    """Return (rows,) entity of each row: its series; of few series, a stretch of time, and of a short time both.

    Folds need some groups at least. A stretch is four horizons long, so that few of its windows share targets with
    those of its neighbours. Few series are often alike, such as indices of one day: a label of one of them from a
    teacher that saw the others at that time would not be out-of-fold.
    """
    if series >= FEW_SERIES:
        return lines
    stretch = origins // (STRETCH * options.horizon)
    if len(np.unique(stretch)) >= FEW_STRETCHES:
        return stretch
    return lines * (int(stretch.max()) + 1) + stretch


def chosen_features(contract: FeatureContract, options: Options) -> dict[str, NDArray[np.int64]]:
    """Return which of `gather`'s features each input of a contract takes; inputs that take all in order are left out.

    An older release may have had fewer of them, or another order. Raises ValueError when it had one, or an input, that
    is no longer made.
    """
    made = make_contract(options, contract.categories, contract.statistics)
    if missing := [name for name in contract.inputs if name not in made.inputs]:
        raise ValueError(f"its inputs {', '.join(missing)} are no longer made; those made are {', '.join(made.inputs)}")
    places = []
    for name in ("future_features", "past_features", "calendar_features"):
        known, wanted = list(made.settings[name]), list(contract.settings.get(name, ()))
        if not (wanted or name == "past_features") or not set(wanted) <= set(known):
            raise ValueError(f"its {name} are {wanted}, those that can be made are {known}")
        places.append(np.array([known.index(feature) for feature in wanted], dtype=np.int64))
    future, behind, calendar = places
    first, last = (len(made.settings[name]) for name in ("future_features", "past_features"))
    past = np.concatenate([future, behind + first, calendar + first + last])
    found = {"future": future, "past": past, "calendar": calendar}
    return {
        name: taken for name, taken in found.items() if not np.array_equal(taken, np.arange(made.inputs[name][1][1]))
    }


def same_covariates(one: Options, other: Options) -> bool:
    """Return whether the covariates are the same columns, names and order, in whichever options."""
    ours, theirs = (
        [
            [(column, said, each.feature(column, said)) for column, said in each.covariates_known(known).items()]
            for known in KNOWN
        ]
        for each in (one, other)
    )
    return ours == theirs


def block_length(steps: int, season: int, horizon: int) -> int:
    """Return the steps of a block of time when `steps` target steps are resampled.

    Blocks must be longer than errors depend on each other and so many that their scatter can be seen. A season keeps
    the weekly rhythm within a block; a horizon, where there is time for twenty of them, also the errors of one origin.
    Of a short time there are five blocks.
    """
    return max(1, min(season, steps // FEW_BLOCKS), min(horizon, steps // MANY_BLOCKS))


def load_windows(folder: Path) -> Windows:
    """Load the dataset that `Windows.save` wrote."""
    arrays = load_file(folder / "panel.safetensors")
    series = read_json(folder / "series.json")
    splits: dict[Split, Rows] = {name: arrays.pop(f"split.{name}") for name in ("train", "valid", "test")}
    lines, origins = arrays.pop("lines"), arrays.pop("origins")
    static, values = (
        {name: np.array(texts, dtype=np.str_) for name, texts in series.get(part, {}).items()}
        for part in ("static", "values")
    )
    names = np.array(series["series"], dtype=np.str_)
    panel = Panel(names=names, static=static, values=values, zone=series.get("zone"), **arrays)
    return Windows(panel, contract_from_json(read_json(folder / "contract.json")), lines, origins, splits)


def split_origins(steps: int, options: Options) -> Mapping[Split, Sequence[int]]:
    """Return positions of each split's origins on a time axis of `steps` steps; no target step is in two splits.

    The axis starts with `context` empty steps and ends with `horizon` steps after `as_of`.
    Raises DataError when the history is too short for all three.
    """
    last = steps - 1 - options.horizon
    test = [last - options.horizon - options.origin_step * place for place in reversed(range(options.test_origins))]
    valid_end = test[0] - options.horizon
    valid = [valid_end - options.origin_step * place for place in reversed(range(options.valid_origins))]
    first = options.context + options.min_history - 1
    train = list(range(valid[0] - options.horizon, first - 1, -options.stride))[::-1]
    if not train:
        have = last + 1 - options.context
        need = have + first - (valid[0] - options.horizon)
        raise DataError(f"table: {have} steps of history up to as_of, but training, validation and test need {need}")
    found: dict[Split, Sequence[int]] = {"train": train, "valid": valid, "test": test}
    return found


def build_windows(panel: Panel, options: Options, origins: Mapping[Split, Sequence[int]] | None = None) -> Windows:
    """Build all rows of a panel. A series has rows from its first observed step on (training: `min_history` later).

    `origins`: positions of the last known steps by split, in time order; without, those of `split_origins`.
    Raises DataError when the history is too short.
    """
    origins = origins or split_origins(len(panel.times), options)
    lines, positions, splits = rows_of(panel, options, origins)
    end_of_training = origins["train"][-1] + options.horizon + 1
    trained = np.unique(lines[splits["train"]])
    statistics = statistics_of(panel, trained, end_of_training, options)
    contract = make_contract(options, code_books(panel, trained, options), statistics)
    return Windows(panel, contract, lines, positions, splits)


def rows_of(
    panel: Panel, options: Options, origins: Mapping[Split, Sequence[int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[Split, Rows]]:
    """Return series and origin of each row (rows,), and the rows of each split, as `build_windows` counts them."""
    started = np.where(panel.observed.any(axis=1), panel.observed.argmax(axis=1), len(panel.times))
    lines, positions, splits, count = [], [], dict[Split, Rows](), 0
    for name, split in origins.items():
        delay = options.min_history - 1 if name == "train" else 0
        grid = np.repeat(np.array(split, dtype=np.int64), len(started))
        line = np.tile(np.arange(len(started), dtype=np.int64), len(split))
        use = started[line] + delay <= grid
        if not use.any():
            raise DataError(f"table: no series has the {options.min_history} steps of history that split {name} needs")
        lines.append(line[use])
        positions.append(grid[use])
        splits[name] = np.arange(count, count + int(use.sum()), dtype=np.int64)
        count += int(use.sum())
    return np.concatenate(lines), np.concatenate(positions), splits


def require_earlier(windows: Windows) -> None:
    """Raise IntegrityError unless every target of a training window lies before the first target of the test."""
    last = int(windows.origins[windows.splits["train"]].max()) + windows.options.horizon
    first = int(windows.origins[windows.splits["test"]].min()) + 1
    if last >= first:
        raise IntegrityError(f"refit: targets to train on reach {last - first + 1} steps into those of the test")
