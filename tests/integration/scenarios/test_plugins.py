"""Nights of a workload that is made of other packages' parts: reuse, release and reproduction know the packages."""

import sys
import venv
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.settings import Settings
from tasks.pipeline.handover.queries import read_outcome, read_verdict
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.opening import open_run
from tasks.planning.run_all import run_all
from tasks.rebuild.reproduction import prepare
from tasks.releases.store import ReleaseStore
from tests.conftest import PROJECT, Project
from tests.plugins.install import install, install_acme, visible

GATE = """
from tasks.gates.gate import Gate
from tasks.gates.result import GateResult


class Lenient(Gate):
    kind = "lenient"

    def judge(self, case):
        return [GateResult("lenient", case.candidate.name, True, None, None, "any")]
"""


def install_beta(site: Path, version: str, gate: str = GATE) -> None:
    install(site, "beta", version, {"nightstill.gates": {"lenient": "beta:Lenient"}}, {"beta.py": gate})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that this process sees, and the stages, in an environment that has it beside ours."""
    folder = tmp_path / "site"
    install_acme(folder)
    install_beta(folder, "1")
    venv.create(tmp_path / "venv", symlinks=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in ours]
    (packages / "all.pth").write_text("\n".join([str(folder), *lines]) + "\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    with visible(folder):
        yield folder


@pytest.mark.timeout(900)
def test_a_changed_package_reruns_its_users_and_reproduce_names_it(project: Project, site: Path) -> None:
    params: dict[str, Any] = yaml.safe_load((PROJECT / "tests" / "plugins" / "params.yaml").read_text())
    params["workloads"]["visits"]["gates"]["further"].append({"kind": "lenient"})
    project.params = params
    project.save()
    settings = Settings(home=project.home, project=project.root)
    store = RunStore(settings.runs())

    def night(run_id: str) -> dict[str, str]:
        run, _ = open_run(settings, "visits", run_id, date(2026, 3, 1))
        codes = run_all(settings, run, run_id, jobs=2)
        logs = settings.home / "logs" / "visits" / run_id
        assert set(codes.values()) == {0}, "\n".join(path.read_text() for path in sorted(logs.iterdir()))
        return {name: manifest.reason for name, manifest in store.manifests("visits", run_id).items()}

    night("first")
    outcome = read_outcome(settings, "visits", "first")
    assert outcome is not None and outcome["outcome"] == "promoted", read_verdict(settings, "visits", "first")
    verdict = read_verdict(settings, "visits", "first")
    assert verdict is not None and {"acme-bias", "lenient"} <= {gate["gate"] for gate in verdict["gates"]}

    install_beta(site, "2")
    reasons = night("second")
    ran = {name: reason for name, reason in reasons.items() if not reason.startswith("reused")}
    assert set(ran) == {"validate", "evaluate", "promote", "report"}, "the champion is another, and so is the gate"
    assert "plugin beta 1 → 2" in ran["evaluate"] and "plugin" not in ran["validate"]

    install_acme(site, "1.3")
    releases = ReleaseStore(settings.releases(), "visits")
    with prepare(settings, releases, releases.release(1)) as rebuild:
        found = rebuild.run()
    assert {"plugin acme 1.2 → 1.3", "plugin beta 1 → 2"} <= set(found.reasons)
    assert not [line for line in found.reasons if "param" in line]
    assert found.equal, "a version alone changes no byte of a model"


@pytest.mark.timeout(300)
def test_a_stage_that_finds_other_files_of_a_package_than_the_run_was_opened_with_ends_with_78(
    project: Project, site: Path
) -> None:
    project.params = yaml.safe_load((PROJECT / "tests" / "plugins" / "params.yaml").read_text())
    project.save()
    settings = Settings(home=project.home, project=project.root)
    run, _ = open_run(settings, "visits", "one", date(2026, 3, 1))
    install_acme(site, source="\n# another byte\n")
    codes = run_all(settings, run, "one")
    assert codes["snapshot"] == 78
    failure = RunStore(settings.runs()).failure("visits", "one", "snapshot")
    assert failure is not None and failure.error.startswith("plugin acme 1.2: the run was opened with other files")
