"""Our reading of dvc.yaml against DVC's own resolver."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.pipeline.graph import load_graph

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(("workload", "refit"), [("sales", None), ("sales", "newest"), ("customers", None)])
def test_dvc_resolves_the_same_stages(workload: str, refit: str | None, tmp_path: Path) -> None:
    from dvc.repo import Repo

    section = load_workload(PROJECT / "params.yaml", workload)
    run = Run(**{**dict(section), "refit": refit}, workload=workload, as_of=date(2026, 11, 20), champion=3)
    shutil.copy(PROJECT / "dvc.yaml", tmp_path)
    (tmp_path / "run.yaml").write_text(run.to_yaml())
    theirs = {stage.name: stage for stage in Repo.init(str(tmp_path), no_scm=True).index.stages}
    ours = load_graph((PROJECT / "dvc.yaml").read_text(), run.model_dump(mode="json")).stages
    assert set(ours) == set(theirs)
    for name, stage in ours.items():
        other = theirs[name]
        assert stage.cmd == other.cmd
        assert set(stage.outs) == {out.def_path for out in other.outs}
        assert set(stage.deps) == {dep.def_path for dep in other.deps if not hasattr(dep, "params")}
        tracked = {(str(dep), key) for dep in other.deps if hasattr(dep, "params") for key in dep.params}
        assert set(stage.params) == tracked
        assert stage.always_changed == bool(other.always_changed)
