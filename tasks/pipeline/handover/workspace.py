"""A workspace is a fresh folder in which one stage runs: the project's code, run.yaml, and a DVC of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from tasks.core.documents import read_yaml, to_yaml
from tasks.core.errors import ConfigError
from tasks.core.files import RUN_FILE
from tasks.pipeline.graph import Graph, Stage
from tasks.pipeline.handover.locks import IGNORED, Lock, project_files

PIPELINE_FILE = "dvc.yaml"
LOCK_FILE = "dvc.lock"


@contextmanager
def workspace(project: Path, graph: Graph, run_yaml: str, remote: str) -> Iterator[Path]:
    """Make a temporary workspace without a dvc.lock, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="nightstill-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        for path in sorted({"tasks", *code_dependencies(graph)}):
            _copy(project, path, root)
        shutil.copyfile(project / PIPELINE_FILE, root / PIPELINE_FILE)
        (root / RUN_FILE).write_text(run_yaml)
        (root / ".dvcignore").write_text("\n".join(IGNORED) + "\n")
        _configure(root, remote)
        yield root


def write_lock_file(path: Path, locks: Mapping[str, Lock]) -> None:
    """Write a dvc.lock made of single stages' locks."""
    path.write_text(lock_file_text(locks))


def lock_file_text(locks: Mapping[str, Lock]) -> str:
    """Return the text of a dvc.lock made of single stages' locks."""
    document = {"schema": "2.0", "stages": {name: dict(lock) for name, lock in locks.items()}}
    return to_yaml(document, sort_keys=False)


def read_lock(path: Path, stage: Stage) -> Lock:
    """Return one stage's entry of a dvc.lock."""
    lock: Lock = read_yaml(path.read_text())["stages"][stage.name]
    return lock


def code_dependencies(graph: Graph) -> set[str]:
    """Return the dependencies that no stage writes: files of the project."""
    written = {out for stage in graph.stages.values() for out in stage.outs}
    return {
        dep
        for stage in graph.stages.values()
        for dep in stage.deps
        if not any(out == dep or out.startswith(dep + "/") for out in written)
    }


def _copy(project: Path, path: str, root: Path) -> None:
    if not (project / path).exists():
        raise ConfigError(f"{project / path}: missing; NIGHTSTILL_PROJECT must name the project's folder")
    for file in project_files(project / path):
        target = root / file.relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _configure(root: Path, remote: str) -> None:
    """Configure DVC without git, sharing nothing with other workspaces, so that two stages never meet a lock."""
    lines = [
        "[core]",
        "    no_scm = true",
        "    analytics = false",
        "    check_update = false",
        "    autostage = false",
        f"    site_cache_dir = {root / '.dvc' / 'site'}",
        "    remote = remote",
        "['remote \"remote\"']",
        f"    url = {remote}",
    ]
    if urlparse(remote).scheme == "s3" and (endpoint := _endpoint()):
        lines.append(f"    endpointurl = {endpoint}")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("\n".join(lines) + "\n")


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
