"""Rows = (series, origin): windows gathered from the panel on demand, split by the time of their targets."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tasks.errors import DataError
from tasks.problems.base import Dataset, FeatureContract, Floats, Inputs, Rows, Split
from tasks.problems.contracts import contract_from_json, contract_to_json
from tasks.problems.forecasting.options import Options
from tasks.problems.forecasting.panel import Panel
from tasks.problems.forecasting.windows import code_books, encode, gather, make_contract, targets
from tasks.stages.context import read_json, write_json

FEW_SERIES = 20
STRETCH = 4


class Windows(Dataset):
    """`lines`, `origins` (rows,): series and position of the last known day of each row."""

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
        self._codes = encode(panel, {name: tuple(values) for name, values in contract.categories.items()})

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        return gather(self.panel, self._codes, self.lines[rows], self.origins[rows], self.options, names)

    def target(self, rows: Rows) -> Floats:
        return targets(self.panel, self.lines[rows], self.origins[rows], self.options)

    def under(self, contract: FeatureContract) -> "Windows":
        """Other code books apply at once, the scale is the model's own; what the inputs are made of must be equal."""
        theirs = Options.model_validate(contract.settings["options"])
        for name in (
            "horizon",
            "context",
            "season",
            "frequency",
            "outputs",
            "static",
            "price",
            "promotions",
            "country",
        ):
            if (there := getattr(theirs, name)) != (here := getattr(self.options, name)):
                raise ValueError(f"its problem.{name} is {there}, tonight's is {here}")
        if contract.inputs.keys() != self.contract.inputs.keys():
            raise ValueError(
                f"its inputs are {', '.join(contract.inputs)}, tonight's are {', '.join(self.contract.inputs)}"
            )
        for name in ("future_features", "calendar_features"):
            if (there := list(contract.settings.get(name, []))) != (here := list(self.contract.settings[name])):
                raise ValueError(f"its {name} are {there}, tonight's are {here}")
        return Windows(self.panel, contract, self.lines, self.origins, dict(self.splits))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {**self.panel.arrays(), "lines": self.lines, "origins": self.origins}
        arrays |= {f"split.{name}": rows for name, rows in self.splits.items()}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "panel.safetensors")
        names = {"series": self.panel.names.tolist(), "static": {k: v.tolist() for k, v in self.panel.static.items()}}
        write_json(folder / "series.json", names)
        write_json(folder / "contract.json", contract_to_json(self.contract))


def groups_of(lines: NDArray[np.int64], origins: NDArray[np.int64], series: int, options: Options) -> NDArray[np.int64]:
    """(rows,) entity of each row: its series; of few series, their stretches of time.

    Folds and bootstrap samples need some groups at least. A stretch is four horizons long, so that few of its windows
    share targets with those of its neighbours.
    """
    if series >= FEW_SERIES:
        return lines
    stretch = origins // (STRETCH * options.horizon)
    return lines * (int(stretch.max()) + 1) + stretch


def load_windows(folder: Path) -> Windows:
    """The dataset that `Windows.save` wrote."""
    arrays = load_file(folder / "panel.safetensors")
    series = read_json(folder / "series.json")
    splits: dict[Split, Rows] = {name: arrays.pop(f"split.{name}") for name in ("train", "valid", "test")}
    lines, origins = arrays.pop("lines"), arrays.pop("origins")
    static = {name: np.array(values, dtype=np.str_) for name, values in series["static"].items()}
    panel = Panel(names=np.array(series["series"], dtype=np.str_), static=static, **arrays)
    return Windows(panel, contract_from_json(read_json(folder / "contract.json")), lines, origins, splits)


def split_origins(steps: int, options: Options) -> Mapping[Split, Sequence[int]]:
    """Positions of the origins of each split on a time axis of `steps` steps; no target step is in two splits.

    The axis starts with `context` empty steps and ends with `horizon` days after `as_of`.
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
    """All rows of a panel. A series has rows from its first observed step on (training: `min_history` steps later).

    `origins`: positions of the last known steps by split, in time order; without, those of `split_origins`.
    Raises DataError when the history is too short.
    """
    origins = origins or split_origins(len(panel.times), options)
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
    end_of_training = origins["train"][-1] + options.horizon + 1
    known = max(panel.observed[:, :end_of_training].sum(), 1)
    mean_units = float(np.abs(panel.units[:, :end_of_training]).sum() / known)
    if mean_units <= 0:
        raise DataError("table: units are zero in all of the training period")
    contract = make_contract(options, code_books(panel, np.unique(lines[0]), options), mean_units)
    return Windows(panel, contract, np.concatenate(lines), np.concatenate(positions), splits)
