"""A run whose candidate waits for its nights in shadow: what its stages left, in the stores, as a night leaves it."""

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from tasks.config.run import Run
from tasks.config.workload import Workload
from tasks.core.approval import WAITS
from tasks.core.storage import open_store
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.opening import shadow_first
from tasks.problems import get_problem
from tasks.problems.contracts import contract_to_json
from tasks.scoring.night import Forecasts, keep_forecasts
from tests.unit.watching.shop import START, Shop

NIGHTS = 5
RECIPE = "fp16"


class Waiting:
    """The shop's runs that end as held, because a candidate is released after its nights in shadow alone."""

    def __init__(self, root: Path, **section: Any) -> None:
        self.shop = Shop(root)
        self.settings, self.releases = self.shop.settings, self.shop.releases
        self.section: Workload = self.shop.section.model_copy(update={"shadow_nights": NIGHTS, **section})
        self.runs = RunStore(self.settings.runs())
        self.remote = open_store(self.settings.dvc_remote)

    def opened(self, run_id: str, content: bytes, as_of: date = START) -> dict[str, Mapping[str, bytes]]:
        """Open a run and leave what its stages do, up to its promotion; return the files of each folder."""
        problem = get_problem(self.section.problem)
        contract = problem.features({"series": self.shop.table(as_of).lazy()}, as_of).contract
        champion = len(self.releases.ledger.entries())
        run = Run(
            **self.section.model_dump(),
            workload="sales",
            as_of=as_of,
            champion=champion,
            answer=shadow_first(self.section),
        )
        info = {"run_id": run_id, "as_of": str(as_of), "champion": champion, "created": f"{as_of}T03:00:00+00:00"}
        self.runs.open_run("sales", run_id, run.to_yaml(), {**info, "force": False, "git_commit": ""})
        verdict = {
            "verdict": "promote",
            "winner": RECIPE,
            "winner_sha256": hashlib.sha256(content).hexdigest(),
            "reason": f"{RECIPE} passes all 9 gates",
            "champion": champion,
            "primary_metric": "wape",
            "rows": 12,
            "gates": [],
            "models": [],
        }
        files: dict[str, Mapping[str, bytes]] = {
            "features": {"contract.json": json.dumps(contract_to_json(contract)).encode()},
            f"candidates/{RECIPE}": {"model.onnx": content},
            "evaluation": {"verdict.json": json.dumps(verdict).encode()},
        }
        for stage, folder in zip(("features", f"compress@{RECIPE}", "evaluate"), files, strict=True):
            self._left(run_id, stage, f"artifacts/{folder}", files[folder])
        self.ended(run_id, outcome="held", reason="in shadow", shadow=WAITS)
        return files

    def ended(self, run_id: str, **summary: Any) -> None:
        """Leave a promotion's manifest that says so."""
        self.runs.finish(_manifest(run_id, "promote", {"entry": None, "release": None, **summary}), None)

    def night(self, as_of: date, run_id: str = "night") -> Forecasts:
        """The champion forecasts from the table of an evening, and whoever is in shadow."""
        return keep_forecasts(self.settings, "sales", lambda: self.shop.raw(as_of), run_id=run_id)

    def _left(self, run_id: str, stage: str, folder: str, files: Mapping[str, bytes]) -> None:
        tree = [{"md5": self._data(data), "relpath": name} for name, data in files.items()]
        digest = self._data(json.dumps(tree).encode(), ".dir")
        self.runs.finish(_manifest(run_id, stage, {}), {"outs": [{"path": folder, "md5": digest}]})

    def _data(self, data: bytes, ending: str = "") -> str:
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest() + ending
        self.remote.write(f"files/md5/{digest[:2]}/{digest[2:]}", data)
        return digest


def _manifest(run_id: str, stage: str, summary: dict[str, Any]) -> Manifest:
    return Manifest(stage=stage, workload="sales", run_id=run_id, status="done", reason="", summary=summary)
