"""What a line of one kind of learning reruns of a night of another, by run-stage in processes as every runner."""

import pytest

from tasks.core.settings import Settings
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.opening import open_run
from tasks.planning.run_all import run_all
from tests import planted
from tests.conftest import LAST_DAY, Project, small_customers


@pytest.mark.timeout(900)
def test_a_line_of_forecasting_reruns_nothing_of_a_tabular_workload(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way round: test_reproduce.py, which has a night of `sales` already."""
    secrets = planted.right()  # nothing that these processes leave may tell one
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    del project.params["workloads"]["sales"]
    project.params["workloads"]["customers"] = small_customers(project.root)
    project.save()
    settings = Settings(home=project.home, project=project.root)
    store = RunStore(settings.runs())

    def night(run_id: str) -> dict[str, str]:
        run, _ = open_run(settings, "customers", run_id, LAST_DAY, dry_run=True)
        codes = run_all(settings, run, run_id, jobs=2)
        logs = settings.home / "logs" / "customers" / run_id
        assert set(codes.values()) == {0}, "\n".join(path.read_text() for path in sorted(logs.iterdir()))
        return {name: manifest.status for name, manifest in store.manifests("customers", run_id).items()}

    first = night("first")
    project.touch("tasks/problems/forecasting/panel.py")
    again = night("other-kind")
    assert set(first.values()) == {"done"} and again.keys() == first.keys()
    assert {name for name, status in again.items() if status != "reused"} == {"report"}
    assert planted.leaks(secrets, planted.files(project.root)) == []
