"""A secret in every setting is in nothing that a night leaves which failed, nor in what the program says of it.

Nights that go well are looked through in test_nights.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.cli.main import main
from tasks.core.storage import FolderStore
from tests import planted
from tests.conftest import Project
from tests.unit.conftest import Releases

SAID_AFTERWARDS = (
    ("show", "sales"),
    ("explain", "sales"),
    ("release", "list", "sales"),
    ("release", "sign", "sales", "1"),
    ("--debug", "registry", "sync", "sales"),
    ("--debug", "score", "sales", "--out", "x.parquet", "--as-of", "2026-06-30"),
)


@pytest.mark.parametrize("settings", [planted.unreachable, planted.malformed])
def test_a_failing_night_tells_no_secret(
    settings: Callable[[], dict[str, str]],
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    project.sales["source"] = {"kind": "sql", "url_env": "SALES_DB_URL", "query": "SELECT 1"}
    project.save()
    secrets = settings()
    places = {"NIGHTSTILL_HOME": str(project.home), "NIGHTSTILL_PROJECT": str(project.root)}
    for name, value in {**secrets, **places, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "NIGHTSTILL_DEBUG": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    entry = Releases(FolderStore(project.home / "releases"), "sales").promote("one")
    assert entry.seq == 1

    def told(*arguments: str) -> tuple[int, bytes]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return int(ended.value.code or 0), "".join(capfd.readouterr()).encode()

    code, output = told("run", "sales", "--as-of", "2026-06-30", "--run-id", "r1")
    assert code in (75, 78), output.decode()
    said = {"the run": output} | {" ".join(arguments): told(*arguments)[1] for arguments in SAID_AFTERWARDS}
    assert all(said.values())
    left = planted.files(tmp_path)
    assert any(name.endswith("report.html") for name in left) and any(name.endswith("failed.json") for name in left)
    assert planted.leaks(secrets, {**said, **left}) == []


def test_what_is_planted_is_found() -> None:
    for secrets in (planted.right(), planted.unreachable(), planted.malformed()):
        for name, value in secrets.items():
            line = value.splitlines()[1] if value.startswith("-----") else value
            assert planted.leaks(secrets, {"log": line.encode()}) or name == "AWS_ACCESS_KEY_ID", name
