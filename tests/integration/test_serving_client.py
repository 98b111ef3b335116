"""The light client where consumers run it: an environment with boto3, numpy and onnxruntime alone, folder and S3."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from infra.local.environments import ENVIRONMENTS, PROJECT
from serving.client import Champion, IntegrityError, NoRelease, SettingError
from tasks.releases.signing import generate
from tests.serving_releases import expected, inputs, open_releases, promote

PYTHON = ENVIRONMENTS / "client" / "bin" / "python"
PROGRAM = """
import importlib.util, json, sys
import numpy as np
from serving.client import Champion, SettingError
champion = Champion.open(sys.argv[1], "sales", cache=sys.argv[2])
x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
output = champion.predict({"x": x, "codes": np.ones((2, 2), np.int64)})
try:
    Champion.open(sys.argv[1], "sales", cache=sys.argv[2], trusted_keys="keys.pem")
    said = ""
except SettingError as error:
    said = str(error)
json.dump({"release": champion.release.number, "output": output.tolist(), "said": said}, sys.stdout)
"""


def run_alone(uri: str, cache: Path, **environment: str) -> dict[str, Any]:
    """What the program says in the consumer's environment, which sees `serving` and nothing else of the project."""
    place = cache.parent / "consumer"
    if not place.exists():
        shutil.copytree(PROJECT / "serving", place / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    told = {"PATH": os.defpath, "HOME": str(place), "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    told |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command = [str(PYTHON), "-c", PROGRAM, uri, str(cache)]
    done = subprocess.run(
        command, cwd=place, env={**told, **environment}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = {**json.loads(done.stdout), "log": done.stderr}
    return found


def test_the_consumer_s_environment_holds_three_libraries_and_what_they_need() -> None:
    (packages,) = (ENVIRONMENTS / "client" / "lib").glob("python3*/site-packages")
    found = {str(each.metadata["Name"]).lower() for each in Distribution.discover(path=[str(packages)])}
    assert {"boto3", "numpy", "onnxruntime"} <= found
    assert not found & {"cryptography", "fastapi", "onnx", "pandas", "polars", "pydantic", "requests", "torch"}


def test_it_predicts_from_a_folder_with_nothing_else_installed(tmp_path: Path) -> None:
    promote(open_releases(tmp_path / "releases"), 2)
    found = run_alone(str(tmp_path / "releases"), tmp_path / "cache")
    assert found["release"] == 1 and np.array_equal(np.array(found["output"], np.float32), expected(2))
    assert found["said"] == "trusted keys need the library `cryptography`; install it" and found["log"] == ""
    left = [path.name for path in (tmp_path / "consumer").iterdir()]
    assert left == ["serving"]  # ONNX Runtime keeps what it is about to report below the home folder


@pytest.mark.s3
def test_it_predicts_from_s3_and_without_s3_from_its_cache(bucket: str, tmp_path: Path) -> None:
    uri = f"s3://{bucket}/{uuid.uuid4().hex}"
    promote(open_releases(uri), 2)
    promote(open_releases(uri), 3)
    found = run_alone(uri, tmp_path / "cache")
    assert found["release"] == 2 and np.array_equal(np.array(found["output"], np.float32), expected(3))
    away = run_alone(uri, tmp_path / "cache", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert away["output"] == found["output"] and "release 2 from the cache" in away["log"]


@pytest.mark.s3
def test_it_follows_a_ledger_in_s3_under_signatures(bucket: str, tmp_path: Path) -> None:
    uri = f"s3://{bucket}"
    private, public, _ = generate(tmp_path / "keys")
    releases = open_releases(uri, str(private))
    with pytest.raises(NoRelease, match=r"no release of 'sales' yet"):
        Champion.open(uri, "sales", cache=tmp_path / "cache", trusted_keys=public)
    promote(releases, 2)
    champion = Champion.open(uri, "sales", cache=tmp_path / "cache", trusted_keys=public)
    assert not champion.refresh()
    promote(releases, 3)
    assert champion.refresh() and np.array_equal(champion.predict(inputs()), expected(3))
    releases.rollback(1, "bad")
    assert champion.refresh() and champion.release.number == 1
    entry = promote(open_releases(uri), 4)
    assert not champion.refresh() and "sales release 4" in champion.problem and "not signed" in champion.problem
    releases.store.write(f"{entry.files}/model.onnx", b"other")
    with pytest.raises(IntegrityError, match=r"model\.onnx is not what was released"):
        Champion.open(uri, "sales", cache=tmp_path / "fresh")


@pytest.mark.s3
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda patch: patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong"), r"refused \(SignatureDoesNotMatch\)"),
        (lambda patch: None, "the bucket does not exist"),
    ],
    ids=["credentials", "bucket"],
)
def test_a_wrong_setting_of_s3_is_told_as_one(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], said: str
) -> None:
    uri = f"s3://{bucket if 'refused' in said else uuid.uuid4().hex}/releases"
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials that it met first
    change(monkeypatch)
    with pytest.raises(SettingError, match=said):
        Champion.open(uri, "sales", cache=tmp_path)
