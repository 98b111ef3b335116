"""Where an installation may lie."""

from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.settings import Settings


@pytest.mark.parametrize("sign", ["#", ",", "%", "?", '"', "'", "\n", "\x1b"])
@pytest.mark.parametrize("setting", ["HOME", "DVC_REMOTE"])
def test_a_place_that_others_would_read_otherwise_is_refused(
    sign: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"NIGHTSTILL_{setting}", f"/data/a{sign}b")
    with pytest.raises(ConfigError, match=rf"^NIGHTSTILL_{setting}=.*: holds .*; name another folder$") as caught:
        Settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["/data/night still", "/data/näch-te_1.2", "s3://bucket/prefix"])
def test_other_places_are_taken(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_DVC_REMOTE", place)
    assert Settings().dvc_remote == place


@pytest.mark.parametrize("setting", ["RUN_STORE", "RELEASE_STORE", "DVC_REMOTE", "FORECASTS", "TRACKING_ARTIFACTS"])
def test_a_folder_is_the_same_one_for_stages_in_folders_of_their_own(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value, found in (("some/folder", str(tmp_path / "some" / "folder")), ("s3://bucket/x", "s3://bucket/x")):
        monkeypatch.setenv(f"NIGHTSTILL_{setting}", value)
        assert Settings().environment()[f"NIGHTSTILL_{setting}"] == found


@pytest.mark.parametrize(
    ("uri", "artifacts"),
    [
        ("", "home/mlflow/artifacts"),
        ("sqlite:///some/mlflow.db", "some/artifacts"),
        ("postgresql://me@db/mlflow", "home/mlflow/artifacts"),
        ("mysql+pymysql://me@db/mlflow", "home/mlflow/artifacts"),
    ],
)
def test_files_of_mlflow_lie_where_no_stage_works(
    uri: str, artifacts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSTILL_HOME", "home")
    settings = Settings(tracking_uri=uri)
    assert settings.tracking_artifacts == str(tmp_path / artifacts)
    if settings.tracking_uri.startswith("sqlite"):
        assert settings.tracking_uri.startswith(f"sqlite:///{tmp_path}/")


def test_a_server_of_mlflow_chooses_where_its_files_lie() -> None:
    assert Settings(tracking_uri="https://mlflow.example").tracking_artifacts == ""
