"""An open run goes on under a newer pipeline: its run.yaml gets what that pipeline reads and it could not yet say."""

from tasks.core.documents import read_yaml
from tasks.core.errors import ConfigError
from tasks.core.files import RUN_FILE
from tasks.core.settings import Settings
from tasks.pipeline.graph import GraphError, load_graph
from tasks.pipeline.handover.locks import tracked
from tasks.pipeline.handover.run_store import RunStore
from tasks.pipeline.handover.workspace import PIPELINE_FILE


def complete_run(settings: Settings, workload: str, run_id: str) -> None:
    """Complete an open run's run.yaml in the run store; one that lacks nothing is not touched."""
    store, pipeline = RunStore(settings.runs()), settings.project / PIPELINE_FILE
    before = store.run_yaml(workload, run_id)
    if pipeline.is_file() and (now := completed(before, pipeline.read_text())) != before:
        store.store.write(store.key(workload, run_id, RUN_FILE), now.encode())


def completed(run_yaml: str, pipeline: str) -> str:
    """Return a run.yaml in which the text of a dvc.yaml, `pipeline`, finds all that it reads.

    One that lacks nothing is returned as it is: older code, which refuses a key unknown to it, still reads its own. So
    is one that cannot be completed, about which the stage has its own words.
    """
    data = read_yaml(run_yaml)
    if "code" not in data:
        return run_yaml
    try:
        for stage in load_graph(pipeline, data).stages.values():
            tracked(stage, {RUN_FILE: data})
    except (ConfigError, GraphError):
        from tasks.config.run import parse_run  # every stage passes here, and hardly any run lacks something

        try:
            return parse_run(run_yaml).to_yaml()
        except ConfigError:
            pass
    return run_yaml
