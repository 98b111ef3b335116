"""This module logs a run in MLflow: parameters, metrics, loss curves and pages, once however often it is tried."""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.core.databases import driver_url
from tasks.core.errors import ConfigError, UnavailableError
from tasks.core.redaction import redact
from tasks.core.settings import SQLITE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_TAG = "nightstill.run_id"
# MLflow's page opens an experiment of this kind on its runs; of others it guesses, mostly traces of language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_WRONG_SETTING = ("INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "UNAUTHENTICATED")


class Tracking(NamedTuple):
    """Tracking says where MLflow is, and where its new experiments keep files: a folder, a URI, or "" (it chooses)."""

    uri: str
    artifacts: str = ""


def log_run(
    tracking: Tracking,
    experiment: str,
    run_id: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    curves: Mapping[str, Sequence[float]],
    artifacts: Mapping[str, bytes],
    tags: Mapping[str, str],
) -> str:
    """Log a run, or complete the one that an earlier attempt began. Returns MLflow's id of it.

    `curves`: values by epoch, from epoch 1. `artifacts`: bytes by path. Parameters once logged stay; metrics, tags and
    artifacts are brought up to date. Raises UnavailableError when MLflow does not answer, ConfigError when it refuses.
    """
    with connected(tracking.uri) as client:
        while True:
            run = find_run(client, experiment, run_id)
            if run is None:
                experiment_id = _experiment(client, experiment, tracking.artifacts)
                client.create_run(experiment_id, tags={RUN_TAG: run_id}, run_name=run_id or None)
                run = _first_run(client, experiment, run_id)
            mlflow_id: str = run.info.run_id
            # Of processes that made a run at once, one may have begun earlier and be seen later: it deletes this one.
            with allowed("INVALID_PARAMETER_VALUE", when=partial(_is_deleted, client, mlflow_id)):
                _log_numbers(client, run, params, metrics, curves, tags)
                _log_artifacts(client, mlflow_id, artifacts)
                client.set_terminated(mlflow_id, "FINISHED")
                return mlflow_id


def log_live(tracking: Tracking, experiment: str, run_id: str, metrics: Mapping[str, float], day: int) -> bool:
    """Add a point to the live metrics of a run that is logged, once a `day` (its number). Returns whether there is one.

    Raises UnavailableError when MLflow does not answer, ConfigError when it refuses.
    """
    with connected(tracking.uri) as client:
        run = find_run(client, experiment, run_id)
        if run is None:
            return False
        from mlflow.entities import Metric

        mlflow_id, now = run.info.run_id, int(time.time() * 1000)
        for name, value in metrics.items():
            known = client.get_metric_history(mlflow_id, name) if name in run.data.metrics else []
            if (day, value) not in {(point.step, point.value) for point in known}:
                client.log_batch(mlflow_id, metrics=[Metric(name, value, now, day)])
        return True


def experiment_name(workload: str) -> str:
    """Return the experiment of a workload's runs, and the name of its registered model."""
    return f"nightstill-{workload}"


def find_run(client: "MlflowClient", experiment: str, run_id: str) -> "Run | None":
    """Return the MLflow run that carries our run_id; the first, if there are several."""
    runs = _runs(client, experiment, run_id)
    return runs[0] if runs else None


def _runs(client: "MlflowClient", experiment: str, run_id: str) -> "list[Run]":
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs = client.search_runs([found.experiment_id], f"tags.`{RUN_TAG}` = '{run_id}'")
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _first_run(client: "MlflowClient", experiment: str, run_id: str) -> "Run":
    """Return the run just made, or the one that another process, or a repeated request of ours, made before it."""
    first, *others = _runs(client, experiment, run_id)
    for other in others:
        with allowed("INVALID_PARAMETER_VALUE"):  # deleted by another process
            client.delete_run(other.info.run_id)
    return first


@contextmanager
def connected(tracking_uri: str) -> Iterator["MlflowClient"]:
    """Connect a client, with MLflow's failures as ours. A SQLite file is created with its folder."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    uri = driver_url(tracking_uri, "NIGHTSTILL_TRACKING_URI")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        if tracking_uri.startswith(SQLITE):
            Path(tracking_uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        yield MlflowClient(uri, registry_uri=uri)
    except MlflowException as error:
        kind = ConfigError if error.error_code in _WRONG_SETTING else UnavailableError
        raise kind(redact(f"MLflow at {tracking_uri}: {_one_line(error)}")) from error
    except (OSError, SQLAlchemyError) as error:
        raise UnavailableError(redact(f"MLflow at {tracking_uri}: {_one_line(error)}")) from error


@contextmanager
def allowed(code: str, when: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Ignore a refusal with this error code, when `when()` holds: another process has been there already."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != code or not when():
            raise


def _experiment(client: "MlflowClient", name: str, place: str) -> str:
    """Return the experiment's id."""
    found = client.get_experiment_by_name(name)
    if found is None:
        location = (place if "://" in place else Path(place).absolute().as_uri()) if place else None
        with allowed("RESOURCE_ALREADY_EXISTS"):
            client.create_experiment(name, artifact_location=location, tags=_KIND)
        found = client.get_experiment_by_name(name)
        assert found is not None
    if found.lifecycle_stage == "deleted":
        raise ConfigError(
            f"MLflow: experiment {name} was deleted there; `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}` brings it back"
        )
    return str(found.experiment_id)


def _log_artifacts(client: "MlflowClient", mlflow_id: str, artifacts: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path, data in artifacts.items():
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        client.log_artifacts(mlflow_id, folder)


def _is_deleted(client: "MlflowClient", mlflow_id: str) -> bool:
    stage: str = client.get_run(mlflow_id).info.lifecycle_stage
    return stage == "deleted"


def _log_numbers(
    client: "MlflowClient",
    run: "Run",
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    curves: Mapping[str, Sequence[float]],
    tags: Mapping[str, str],
) -> None:
    """Log only numbers that are missing, in batches that MLflow takes."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    known, mlflow_id = run.data, run.info.run_id
    points = [Metric(name, value, now, 0) for name, value in metrics.items() if known.metrics.get(name) != value]
    for name, values in curves.items():
        done = len(client.get_metric_history(mlflow_id, name)) if name in known.metrics else 0
        points += [Metric(name, value, now, epoch) for epoch, value in enumerate(values, 1) if epoch > done]
    for start in range(0, len(points), 1000):
        client.log_batch(mlflow_id, metrics=points[start : start + 1000])
    missing = [Param(name, str(value)) for name, value in params.items() if name not in known.params]
    for start in range(0, len(missing), 100):
        client.log_batch(mlflow_id, params=missing[start : start + 100])
    client.log_batch(mlflow_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
