"""A release of every workload of params.yaml and of one with weather, and what `nightstill score` says of its rows.

    python -m tests.workload_releases OUT

Rows are those of the workload's own source, features and model are of its own kind and options; the model is the first
student as it is before training, because what consumers read does not depend on how well it forecasts.
"""

import sys
from datetime import date
from pathlib import Path

import yaml

from tasks.cli.main import main as nightstill
from tasks.compression.export import export_onnx
from tasks.config.run import Run
from tasks.config.workload import load_workloads
from tasks.core.files import write_json
from tasks.core.params import PARAMS_FILE
from tasks.core.settings import Settings
from tasks.core.storage import open_store
from tasks.problems import get_problem
from tasks.problems.contracts import contract_to_json
from tasks.problems.models import build_model
from tasks.releases.store import ReleaseStore
from tasks.tables.sources import get_source
from tests.weather import CHECKS, PROBLEM, weather_table

PROJECT = Path(__file__).parents[1]
AS_OF = date(2026, 10, 4)


def make(out: Path) -> list[str]:
    """For each workload a release in `out`/releases, its raw rows and its scores. Returns the workloads' names."""
    settings = Settings(project=out)
    params = yaml.safe_load((PROJECT / PARAMS_FILE).read_text())
    sales = params["workloads"]["sales"]
    learner = {**sales["students"]["student"], "model": {"kind": "multi-rnn"}}  # it reads the past's covariates as well
    params["workloads"]["weather"] = sales | {
        "source": {"kind": "table", "path": "weather.parquet"},
        "problem": PROBLEM,
        "checks": CHECKS,
        "gates": {**sales["gates"], "segments": {"by": ["region"], "limit": 1}},
        "students": {"student": learner},
        "recipes": {"fp32": {}},
    }
    (out / PARAMS_FILE).write_text(yaml.safe_dump(params))
    weather_table(as_of=AS_OF).write_parquet(out / "weather.parquet")
    workloads = load_workloads(out / PARAMS_FILE)
    for name, section in workloads.items():
        problem = get_problem(section.problem)
        tables = get_source(section.source, problem.tables(), name, settings.project).fetch(AS_OF).tables
        dataset = problem.features({name: table.lazy() for name, table in tables.items()}, AS_OF)
        student = next(iter(section.students.values()))
        model = build_model(student.model, dataset.contract).eval()
        run = Run(**section.model_dump(), workload=name, as_of=AS_OF, champion=0)
        (out / name).mkdir(parents=True)
        write_json(out / name / "contract.json", contract_to_json(dataset.contract))
        files = {
            "model.onnx": export_onnx(model, dataset.contract, dataset.inputs(dataset.splits["valid"][:2])),
            "contract.json": (out / name / "contract.json").read_bytes(),
            "run.yaml": run.to_yaml().encode(),
        }
        releases = ReleaseStore(open_store(str(out / "releases")), name)
        releases.publish(files, expected=0, run_id="run", as_of=AS_OF, reason="first")
        (table,) = tables.values()
        table.write_parquet(out / name / "table.parquet")
    return list(workloads)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for workload in make(folder):
        rows, scores = folder / workload / "table.parquet", folder / workload / "scores.parquet"
        try:
            nightstill(["score", workload, "--as-of", str(AS_OF), "--table", str(rows), "--out", str(scores)])
        except SystemExit as ended:
            if ended.code:
                raise
