"""A release whose teacher was kept is rebuilt bit by bit, and so is one whose data had moved."""

from pathlib import Path

import pytest

from tasks.pipeline.handover.run_store import RunStore
from tasks.releases.origin import LOCK, lock_stages
from tests.integration.scenarios.test_reproduce import Released, stages

pytestmark = pytest.mark.timeout(900)
NEVER, ALWAYS = 1e6, 1e-9


@pytest.mark.parametrize("until_drift", [NEVER, ALWAYS])
def test_a_release_with_a_kept_teacher_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until_drift: float
) -> None:
    monkeypatch.delenv("NIGHTSTILL_GIT_COMMIT", raising=False)
    root = tmp_path / "project"
    root.mkdir()
    released = Released(root, {"every": "7d", "until_drift": until_drift})
    entry = released.releases.release(1)
    made = set(lock_stages(released.releases.read(entry, LOCK)))
    assert {"keep@lstm", "label@lstm"} < made and "teach@lstm" not in made
    night = RunStore(released.settings.runs()).manifests("sales", "night")
    assert ("ended" in night["label@lstm"].summary) == (until_drift == ALWAYS), night["label@lstm"].summary
    # The source may have no such day any more.
    released.project.root.joinpath("sales.parquet").unlink()
    found = released.reproduce()
    assert found.equal, found
    pulled = {name for name, stage in stages(found).items() if stage.status == "pulled"}
    assert pulled == {"snapshot", "keep@lstm"}
    assert stages(found)["label@lstm"].status == "equal"
