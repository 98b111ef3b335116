"""Boosted trees learn the rows of a workload as a practitioner would have them: LightGBM and CatBoost, tuned.

Both read numbers with gaps as such and categories by their own means. The libraries' own settings and some drawn at
random compete by the error on validation rows, where growing stops early as well; the best predict the test rows, once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Dataset, Floats, Problem, Rows, Split

TREES, PATIENCE = 1500, 50
Predict = Callable[[Rows], Floats]
Fit = Callable[[Dataset, dict[str, Any], dict[str, Any], int], Predict]


def tuned(
    problem: Problem, dataset: Dataset, fit: Fit, draw: Callable[[Any], dict[str, Any]], *, trials: int, seed: int
) -> Any:
    """Return the least validation error of so many settings, that one's test error, and the settings."""
    rng = np.random.default_rng(seed)
    valid, test = dataset.splits["valid"], dataset.splits["test"]
    tried = []
    for trial in range(trials):
        settings = draw(rng) if trial else {}
        predict = fit(dataset, task_of(dataset), settings, seed)
        tried.append((problem.score(predict(valid), dataset.target(valid)).error, trial, predict, settings))
    error, _, predict, settings = min(tried, key=lambda one: one[:2])
    return {"valid": error, "test": problem.score(predict(test), dataset.target(test)).error, "settings": settings}


def task_of(dataset: Dataset) -> dict[str, Any]:
    """Return the task of a workload of rows: how many classes there are, 0 of a value, outputs, and the error."""
    options, (outputs,) = dataset.contract.settings["options"], dataset.contract.output_shape
    classes = 0 if options.get("task") == "value" else outputs
    return {"classes": classes, "outputs": outputs, "error": options.get("metric", "log_loss")}


def columns(dataset: Dataset, rows: Rows) -> tuple[NDArray[np.float64], int]:
    """Return (rows, columns) numbers, NaN where they are not known, then codes of categories; how many are codes."""
    inputs = dataset.inputs(rows)
    numbers = inputs["numeric"].astype(np.float64)
    if "observed" in inputs:
        numbers[inputs["observed"] == 0] = np.nan
    codes = inputs.get("codes", np.empty((len(rows), 0)))
    return np.column_stack([numbers, codes]), codes.shape[1]


def fit_lightgbm(dataset: Dataset, task: dict[str, Any], settings: dict[str, Any], seed: int) -> Predict:
    """Fit LightGBM, and return what predicts rows."""
    import lightgbm

    def part(name: Split, reference: Any = None) -> Any:
        table, codes = columns(dataset, dataset.splits[name])
        own = list(range(table.shape[1] - codes, table.shape[1]))
        label, weight = _label(dataset, task, dataset.splits[name])
        return lightgbm.Dataset(table, label, weight=weight, categorical_feature=own, reference=reference)

    objective: dict[str, Any] = {"objective": "regression_l1" if task["error"] == "mae" else "regression"}
    if task["classes"] == 2:
        objective = {"objective": "binary"}
    elif task["classes"]:
        objective = {"objective": "multiclass", "num_class": task["classes"]}
    learn = part("train")
    booster = lightgbm.train(
        {"learning_rate": 0.05, **settings, **objective, "seed": seed, "num_threads": 1, "verbosity": -1},
        learn,
        TREES,
        [part("valid", learn)],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )

    def predict(rows: Rows) -> Floats:
        raw = np.asarray(booster.predict(columns(dataset, rows)[0], raw_score=True))
        return _answer(raw.reshape(len(rows), -1), task)

    return predict


def draw_lightgbm(rng: np.random.Generator) -> dict[str, Any]:
    """Draw settings of LightGBM."""
    return {
        "learning_rate": float(rng.choice([0.05, 0.1])),
        "num_leaves": int(rng.choice([7, 15, 31, 63, 127])),
        "min_data_in_leaf": int(rng.choice([5, 10, 20, 50, 100])),
        "feature_fraction": float(rng.uniform(0.5, 1)),
        "bagging_fraction": float(rng.uniform(0.5, 1)),
        "bagging_freq": 1,
        "lambda_l2": float(10 ** rng.uniform(-3, 1)),
    }


def fit_catboost(dataset: Dataset, task: dict[str, Any], settings: dict[str, Any], seed: int) -> Predict:
    """Fit CatBoost, and return what predicts rows."""
    import catboost
    import pandas as pd

    def frame(rows: Rows) -> Any:
        table, codes = columns(dataset, rows)
        found = pd.DataFrame(table)
        own = list(found.columns[table.shape[1] - codes :])
        return found.astype(dict.fromkeys(own, int)), own

    def pool(name: Split) -> Any:
        table, own = frame(dataset.splits[name])
        label, weight = _label(dataset, task, dataset.splits[name])
        return catboost.Pool(table, label, cat_features=own, weight=weight)

    of_values = "MAE" if task["error"] == "mae" else "RMSE"
    loss = {0: of_values, 2: "Logloss"}.get(task["classes"], "MultiClass")
    model = catboost.CatBoost(
        {"learning_rate": 0.05, **settings, "loss_function": loss, "iterations": TREES, "od_type": "Iter"}
        | {"od_wait": PATIENCE, "use_best_model": True, "random_seed": seed, "thread_count": 1}
        | {"allow_writing_files": False, "logging_level": "Silent"}
    )
    model.fit(pool("train"), eval_set=pool("valid"))

    def predict(rows: Rows) -> Floats:
        raw = np.asarray(model.predict(frame(rows)[0], prediction_type="RawFormulaVal", thread_count=1))
        return _answer(raw.reshape(len(rows), -1), task)

    return predict


def draw_catboost(rng: np.random.Generator) -> dict[str, Any]:
    """Draw settings of CatBoost."""
    return {
        "learning_rate": float(rng.choice([0.05, 0.1])),
        "depth": int(rng.integers(4, 9)),
        "l2_leaf_reg": float(10 ** rng.uniform(-0.5, 1)),
        "random_strength": float(rng.choice([0.5, 1, 2])),
        "bagging_temperature": float(rng.uniform(0, 1)),
    }


def _label(dataset: Dataset, task: dict[str, Any], rows: Rows) -> tuple[Any, Any]:
    target = dataset.target(rows).astype(np.float64)
    label, weight = (target[:, 0], target[:, 1]) if target.ndim == 2 else (target, None)
    return (np.log1p(label) if task["error"] == "rmsle" else label), weight


def _answer(raw: NDArray[np.float64], task: dict[str, Any]) -> Floats:
    """Return raw scores as the contract's outputs; quantiles, which no error is of, are the value."""
    if task["classes"] == 2:
        raw = np.column_stack([np.zeros(len(raw)), raw])
    elif task["error"] == "rmsle":
        raw = np.expm1(raw)
    if not task["classes"]:
        raw = np.repeat(raw, task["outputs"], axis=1)
    return raw.astype(np.float32)


PEERS: Mapping[str, tuple[Fit, Callable[[Any], dict[str, Any]]]] = {
    "lightgbm": (fit_lightgbm, draw_lightgbm),
    "catboost": (fit_catboost, draw_catboost),
}
