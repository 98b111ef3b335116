"""Runs and the registry in a real MLflow on SQLite, against a real ledger."""

import json
import logging
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mlflow.exceptions import MlflowException
from onnx import TensorProto, helper

from tasks.cli.main import main
from tasks.core.errors import ConfigError, IntegrityError, UnavailableError
from tasks.core.settings import Settings
from tasks.core.storage import FolderStore
from tasks.releases import copies
from tasks.releases.ledger import Entry
from tasks.releases.pins import pin, unpin
from tasks.releases.pruning import prune
from tasks.releases.store import INPUT_EXAMPLE, ReleaseStore
from tasks.releases.verification import verify
from tasks.tracking.mlmodel import mlmodel
from tasks.tracking.registry import ALIAS, sync
from tasks.tracking.runs import Tracking, connected, experiment_name, find_run, log_run
from tests.conftest import Project
from tests.tamper import modes, put
from tests.unit.watching.shop import START, Shop, by_weekday

MODEL = "nightstill-sales"


def doubling(factor: float) -> bytes:
    """ONNX bytes of output = x * factor."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["output"])],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty MLflow database: making its tables takes seconds, copying the file does not."""
    folder = tmp_path_factory.mktemp("mlflow")
    with connected(f"sqlite:///{folder / 'new' / 'mlflow.db'}") as client:
        client.search_experiments()
    return (folder / "new" / "mlflow.db").read_bytes()


@pytest.fixture
def uri(prepared: bytes, tmp_path: Path) -> str:
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    path.write_bytes(prepared)
    return f"sqlite:///{path}"


@pytest.fixture
def releases(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(FolderStore(tmp_path / "releases"), "sales")


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """MLflow is silenced in the process; other tests keep their logging."""
    before = {name: logging.getLogger(name).level for name in ("mlflow", "alembic")}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def promote(releases: ReleaseStore, factor: float) -> Entry:
    last = releases.champion()
    model = doubling(factor)
    files = {"model.onnx": model, "MLmodel": mlmodel(model, example=True), INPUT_EXAMPLE: b'{"x": [[3.0]]}'}
    return releases.publish(
        files,
        expected=last.seq if last else 0,
        run_id=f"run-{factor:g}",
        as_of=date(2026, 1, 1),
        reason=f"{factor:g} is better",
    )


def log(uri: str, run_id: str = "run-2", **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "params": {"seed": 7, "students.student.alpha": 0.5},
        "metrics": {"wape": 0.25},
        "curves": {"teach.lstm.fold0.train": [3.0, 2.0, 1.5]},
        "artifacts": {"report.html": b"<html>", "teach/history.json": b"{}"},
        "tags": {"git": "abc"},
        **changes,
    }
    tracking = Tracking(uri, Settings(tracking_uri=uri).tracking_artifacts)
    return log_run(tracking, experiment_name("sales"), run_id, **arguments)


def test_what_mlflow_refuses_of_a_run_is_an_error(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"Invalid value .*wape"):
        log(uri, metrics={"wape?": 0.25})


def test_a_run_is_logged_once_however_often_it_is_tried(uri: str, tmp_path: Path) -> None:
    first = log(uri)
    assert log(uri) == first
    other = log(uri, "run-3")
    assert other != first
    with connected(uri) as client:
        experiment = client.get_experiment_by_name("nightstill-sales")
        assert experiment is not None
        assert len(client.search_runs([experiment.experiment_id])) == 2
        run = client.get_run(first)
        assert run.info.status == "FINISHED" and run.info.run_name == "run-2"
        assert run.data.params == {"seed": "7", "students.student.alpha": "0.5"}
        assert run.data.metrics == {"wape": 0.25, "teach.lstm.fold0.train": 1.5}
        assert run.data.tags["nightstill.run_id"] == "run-2" and run.data.tags["git"] == "abc"
        points = client.get_metric_history(first, "teach.lstm.fold0.train")
        assert [(point.step, point.value) for point in points] == [(1, 3.0), (2, 2.0), (3, 1.5)]
        assert len(client.get_metric_history(first, "wape")) == 1
    logged = tmp_path / "mlflow" / "artifacts" / first / "artifacts"
    assert (logged / "report.html").read_bytes() == b"<html>"
    assert (logged / "teach" / "history.json").read_bytes() == b"{}"


def test_an_experiment_opens_on_its_runs_and_a_deleted_one_is_named(uri: str) -> None:
    log(uri)
    with connected(uri) as client:
        experiment = client.get_experiment_by_name(MODEL)
        assert experiment is not None and experiment.tags["mlflow.experimentKind"] == "custom_model_development"
        client.delete_experiment(experiment.experiment_id)
    with pytest.raises(ConfigError, match=rf"experiment {MODEL} was deleted there; `mlflow experiments restore"):
        log(uri, "run-3")


def test_a_killed_logging_is_completed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", killed)
        with pytest.raises(KeyboardInterrupt):
            log(uri, curves={"loss": [3.0]})
    mlflow_id = log(uri, curves={"loss": [3.0, 2.0]}, metrics={"wape": 0.2}, artifacts={"report.html": b"new"})
    with connected(uri) as client:
        run = client.get_run(mlflow_id)
        assert run.info.status == "FINISHED" and run.data.metrics == {"wape": 0.2, "loss": 2.0}
        assert [point.value for point in client.get_metric_history(mlflow_id, "loss")] == [3.0, 2.0]
        experiment = client.get_experiment_by_name("nightstill-sales")
        assert experiment is not None
        assert len(client.search_runs([experiment.experiment_id])) == 1


def test_more_points_and_parameters_than_mlflow_takes_at_once(uri: str) -> None:
    params = {f"p{number}": number for number in range(150)}
    mlflow_id = log(uri, params=params, curves={"loss": [float(value) for value in range(1200)]}, artifacts={})
    with connected(uri) as client:
        assert len(client.get_run(mlflow_id).data.params) == 150
        assert len(client.get_metric_history(mlflow_id, "loss")) == 1200


def test_the_alias_follows_promotions_and_rollbacks(uri: str, releases: ReleaseStore) -> None:
    assert sync(uri, releases, "sales") == []
    mlflow_id = log(uri)
    first = promote(releases, 2)
    assert sync(uri, releases, "sales") == [
        "registered model nightstill-sales",
        "version 1 for release 1",
        "alias champion on version 1, release 1",
    ]
    assert sync(uri, releases, "sales") == []
    promote(releases, 3)
    assert sync(uri, releases, "sales") == ["version 2 for release 2", "alias champion on version 2, release 2"]
    releases.rollback(1, "bad")
    assert sync(uri, releases, "sales") == [
        "tag rolled_back of version 2, release 2: by ledger entry 3: bad",
        "alias champion on version 1, release 1",
    ]
    with connected(uri) as client:
        version = client.get_model_version_by_alias(MODEL, "champion")
        assert str(version.version) == "1" and version.run_id == mlflow_id
        assert version.description == "2 is better"
        assert version.tags == {
            "release": "1",
            "ledger_seq": "1",
            "run_id": "run-2",
            "as_of": "2026-01-01",
            "model_sha256": first.model_sha256,
            "manifest_sha256": first.manifest_sha256,
        }
    # The next release is number 4 in the ledger and version 3 in MLflow, which counts by itself.
    promote(releases, 4)
    assert sync(uri, releases, "sales") == ["version 3 for release 4", "alias champion on version 3, release 4"]


def test_the_registry_is_repaired_from_the_ledger(uri: str, releases: ReleaseStore) -> None:
    promote(releases, 2)
    promote(releases, 3)
    sync(uri, releases, "sales")
    with connected(uri) as client:
        client.delete_registered_model_alias(MODEL, "champion")
    assert sync(uri, releases, "sales") == ["alias champion on version 2, release 2"]
    with connected(uri) as client:
        client.set_registered_model_alias(MODEL, "champion", "1")
    assert sync(uri, releases, "sales") == ["alias champion on version 2, release 2"]
    with connected(uri) as client:
        client.delete_model_version(MODEL, "2")
    assert sync(uri, releases, "sales") == ["version 3 for release 2", "alias champion on version 3, release 2"]
    with connected(uri) as client:
        client.delete_registered_model(MODEL)
    assert len(sync(uri, releases, "sales")) == 4


def test_a_dry_run_says_what_sync_would_do_and_does_nothing(uri: str, releases: ReleaseStore) -> None:
    promote(releases, 2)
    promote(releases, 3)
    for _ in range(2):
        assert sync(uri, releases, "sales", dry_run=True) == [
            f"registered model {MODEL}",
            "version for release 1",
            "version for release 2",
            "alias champion on the version for release 2",
        ]
    sync(uri, releases, "sales")
    releases.rollback(1, "bad")
    wanted = [
        "tag rolled_back of version 2, release 2: by ledger entry 3: bad",
        "alias champion on version 1, release 1",
    ]
    for dry_run in (True, True, False):
        assert sync(uri, releases, "sales", dry_run=dry_run) == wanted
    assert sync(uri, releases, "sales") == []


def test_tags_say_how_a_release_stands(uri: str, releases: ReleaseStore) -> None:
    for factor in (2, 3, 4):
        promote(releases, factor)
    sync(uri, releases, "sales")
    pin(releases, "the fair")
    assert sync(uri, releases, "sales") == ["tag pinned of version 3, release 3: by ledger entry 4: the fair"]
    unpin(releases, "over")
    assert sync(uri, releases, "sales") == ["tag pinned of version 3, release 3 removed"]
    releases.rollback(2, "bad")
    assert len(sync(uri, releases, "sales")) == 2
    releases.rollback(3, "good after all")
    assert sync(uri, releases, "sales") == [
        "tag rolled_back of version 2, release 2: by ledger entry 7: good after all",
        "tag rolled_back of version 3, release 3 removed",
        "alias champion on version 3, release 3",
    ]
    prune(releases, keep=2)
    assert sync(uri, releases, "sales") == ["tag pruned of version 1, release 1: by ledger entry 8: keep 2"]
    with connected(uri) as client:
        assert client.get_model_version(MODEL, "1").tags["pruned"] == "by ledger entry 8: keep 2"
        # A version of files that are gone is of no use to anybody.
        client.delete_registered_model(MODEL)
    assert [line for line in sync(uri, releases, "sales") if line.startswith("version")] == [
        "version 1 for release 2",
        "version 2 for release 3",
    ]


def test_tags_that_people_changed_are_mended_and_their_own_are_left_alone(uri: str, releases: ReleaseStore) -> None:
    promote(releases, 2)
    sync(uri, releases, "sales")
    with connected(uri) as client:
        client.set_model_version_tag(MODEL, "1", "run_id", "another")
        client.set_model_version_tag(MODEL, "1", "pinned", "by hand")
        client.set_model_version_tag(MODEL, "1", "reviewed", "yes")
        client.delete_model_version_tag(MODEL, "1", "as_of")
    assert sync(uri, releases, "sales") == [
        "tag run_id of version 1, release 1: run-2",
        "tag as_of of version 1, release 1: 2026-01-01",
        "tag pinned of version 1, release 1 removed",
    ]
    with connected(uri) as client:
        # Without these a version is known by its files alone.
        client.delete_model_version_tag(MODEL, "1", "release")
        client.delete_model_version_tag(MODEL, "1", "manifest_sha256")
    assert len(sync(uri, releases, "sales")) == 2
    assert sync(uri, releases, "sales") == []
    with connected(uri) as client:
        (version,) = client.search_model_versions(f"name = '{MODEL}'")
        assert version.tags["reviewed"] == "yes"


def test_of_two_versions_of_a_release_the_first_stays(uri: str, releases: ReleaseStore) -> None:
    entry = promote(releases, 2)
    sync(uri, releases, "sales")
    with connected(uri) as client:
        tags = client.get_model_version(MODEL, "1").tags
        client.create_model_version(MODEL, source=releases.url(entry), tags=tags)
        client.set_registered_model_alias(MODEL, "champion", "2")
        client.create_model_version(MODEL, source="s3://elsewhere/model")  # somebody's own: none of ours
    assert sync(uri, releases, "sales") == [
        "version 2 deleted, release 1 has version 1",
        "alias champion on version 1, release 1",
    ]
    assert sync(uri, releases, "sales") == []
    with connected(uri) as client:
        assert {str(version.version) for version in client.search_model_versions(f"name = '{MODEL}'")} == {"1", "3"}


def test_a_slower_sync_does_not_leave_the_alias_behind(
    uri: str, releases: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    promote(releases, 2)
    point = MlflowClient.set_registered_model_alias

    def overtaken(client: MlflowClient, *arguments: Any) -> None:
        monkeypatch.undo()
        promote(releases, 3)
        sync(uri, releases, "sales")
        point(client, *arguments)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", overtaken)
    assert sync(uri, releases, "sales")[-1] == "alias champion on version 2, release 2"
    assert sync(uri, releases, "sales") == []


def test_the_command_prints_what_was_done_and_nothing_when_all_fits(
    uri: str,
    releases: ReleaseStore,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(project=project.root, release_store=releases.store.uri, tracking_uri=uri)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    def registry_sync(*arguments: str) -> tuple[Any, list[str]]:
        with pytest.raises(SystemExit) as ended:
            main(["registry", "sync", *arguments])
        told = capsys.readouterr()
        return ended.value.code, (told.out + told.err).splitlines()

    assert registry_sync("sales") == (0, [])
    promote(releases, 2)
    said = [f"registered model {MODEL}", "version 1 for release 1", "alias champion on version 1, release 1"]
    code, lines = registry_sync("sales", "--dry-run")
    assert code == 0 and lines[0] == f"sales: would be done: {said[0]}" and len(lines) == 3
    assert registry_sync("sales") == (0, [f"sales: {line}" for line in said])
    assert registry_sync("sales") == (0, [])
    assert registry_sync("tales") == (64, ["error: no workload 'tales'; there are: sales"])


def test_a_release_of_a_ledger_begun_anew_gets_a_version_of_its_own(uri: str, tmp_path: Path) -> None:
    for number, factor in enumerate((2.0, 3.0), 1):
        releases = ReleaseStore(FolderStore(tmp_path / f"releases-{number}"), "sales")
        promote(releases, factor)
        assert f"version {number} for release 1" in sync(uri, releases, "sales")


def test_mlflow_users_load_the_champion_by_alias(uri: str, releases: ReleaseStore) -> None:
    import mlflow

    entry = promote(releases, 2)
    sync(uri, releases, "sales")
    released = modes(Path(releases.url(entry)))
    assert not any(int(mode, 8) & 0o222 for mode in released.values())
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
        mlflow.onnx.load_model(f"models:/{MODEL}@champion")
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    assert model.predict({"x": np.ones((2, 1), np.float32)})["output"].tolist() == [[2.0], [2.0]]
    signature = model.metadata.signature
    assert [(field.name, field.type, field.shape) for field in (*signature.inputs, *signature.outputs)] == [
        ("x", np.dtype("float32"), (-1, 1)),
        ("output", np.dtype("float32"), (-1, 1)),
    ]
    assert model.predict(model.input_example)["output"].tolist() == [[6.0]]
    with pytest.raises(MlflowException, match="x"):
        model.predict({"units": np.ones((2, 1), np.float32)})
    verify(releases)
    # Root can write into the release, others cannot; MLflow notes in its copy whence it loaded the model, as it must.
    assert modes(Path(releases.url(entry))) == released
    assert (Path(copies.url(releases, entry)) / "registered_model_meta").is_file()


def test_files_that_mlflow_opens_are_copied_again_when_they_are_gone(uri: str, releases: ReleaseStore) -> None:
    entry = promote(releases, 2)
    sync(uri, releases, "sales")
    shutil.rmtree(copies.url(releases, entry))
    for dry_run in (True, False):
        assert sync(uri, releases, "sales", dry_run=dry_run) == ["files of version 1, release 1"]
    assert sync(uri, releases, "sales") == []
    with connected(uri) as client:
        assert client.get_model_version(MODEL, "1").source == copies.url(releases, entry)
        # An earlier version of this program let MLflow open the release itself.
        client.create_model_version(MODEL, source=releases.url(entry))
        client.delete_model_version(MODEL, "1")
    shutil.rmtree(copies.url(releases, entry))
    assert sync(uri, releases, "sales")[-1] == "alias champion on version 2, release 1"
    assert not Path(copies.url(releases, entry)).exists()


def test_a_damaged_release_is_told_and_keeps_the_alias_from_nothing(uri: str, releases: ReleaseStore) -> None:
    first = promote(releases, 2)
    sync(uri, releases, "sales")
    shutil.rmtree(copies.url(releases, first))
    put(Path(releases.url(first)) / "model.onnx", b"other bytes")
    promote(releases, 3)
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        sync(uri, releases, "sales")
    with connected(uri) as client:
        assert client.get_model_version_by_alias(MODEL, ALIAS).tags["release"] == "2"


def test_an_mlflow_that_does_not_answer(
    releases: ReleaseStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    promote(releases, 2)
    (tmp_path / "file").write_text("")
    for uri in ("http://127.0.0.1:9", f"sqlite:///{tmp_path}/file/mlflow.db"):
        with pytest.raises(UnavailableError, match="MLflow at"):
            sync(uri, releases, "sales")
        with pytest.raises(UnavailableError, match="MLflow at"):
            log(uri)
    with pytest.raises(ConfigError, match="MLflow at ftp://x"):
        sync("ftp://x", releases, "sales")


def test_the_live_error_stands_in_the_run_that_made_the_release_once_a_day(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop(tmp_path)
    shop.release(by_weekday(), START)
    run_id = f"night-{START}"
    log_run(Tracking(uri), experiment_name("sales"), run_id, {}, {"wape": 0.3}, {}, {}, {})
    for offset in range(6):
        shop.forecast(START + timedelta(days=offset))
    day = START + timedelta(days=6)
    shop.rows.write_parquet(tmp_path / "sales.parquet")
    for name, value in shop.settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NIGHTSTILL_TRACKING_URI", uri)
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["watch", "sales", "--as-of", str(day)])
        out = capsys.readouterr().out
        assert ended.value.code == 0
    assert "FINE no regression" in out and "1 (champion)" in out and "The champion by step" in out
    result = json.loads(out.splitlines()[-1])
    assert (result["outcome"], result["watched"]) == ("fine", "1")
    report = json.loads(Path(result["uri"]).read_text())
    (mine,) = [one for one in report["live"] if one["part"] == "all"]
    with connected(uri) as client:
        run = find_run(client, experiment_name("sales"), run_id)
        assert run is not None
        (point,) = client.get_metric_history(run.info.run_id, "live/wape")
    assert point.value == pytest.approx(mine["error"], rel=1e-4)
    assert point.step == day.toordinal()
    assert {"live/bias", "live/coverage", "live/against_naive"} <= {*run.data.metrics}
