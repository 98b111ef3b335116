"""`run.yaml` holds what the stages read: the section of one workload and what varies by night.

DVC tracks parts of `run.yaml`, so nothing that must not enter a lock (run_id, clock time) may stand in it.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from tasks.config.plugins import Plugins
from tasks.config.workload import Workload
from tasks.core.approval import Answer
from tasks.core.config import Frozen, Name, explained
from tasks.core.documents import read_mapping, to_yaml
from tasks.core.files import RUN_FILE
from tasks.distillation.options import Teacher
from tasks.pipeline.graph import CANDIDATES, refit_variables, teacher_variables

FURTHER = ("workload", "as_of", "champion", "dry_run", "answer", "plugins", "code")
NO_KIND = "tasks/problems/blocks/__init__.py"


class Code(Frozen):
    """Code names what dvc.yaml reaches by variables. `problem`: the files of the workload's kind of learning.

    `refit`: the stages of that name, and `candidates` the folder of those that are judged. `taught`: the teachers that
    are trained tonight; `kept`: the others, with the day whose data each was trained with, which its lock names.
    """

    problem: str
    refit: tuple[str, ...] = ()
    candidates: str = CANDIDATES
    taught: tuple[Name, ...] = ()
    kept: dict[Name, date] = Field(default_factory=dict)


class Run(Workload):
    """A run is the content of run.yaml: a workload's section and what varies by night.

    `champion` is the sequence number of the ledger's last entry (0: none): the entry that evaluation compares
    with and that promotion is fenced against. `answer`: what people decided of the candidate. `plugins`: other packages
    that it uses, by user; a part that uses none is empty, because DVC refuses a parameter that is missing.
    """

    workload: Name
    as_of: date
    champion: int = Field(ge=0)
    dry_run: bool = False
    answer: Answer | None = None
    plugins: Plugins
    code: Code

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Complete a run.yaml of before there were plugins: it names none."""
        if not isinstance(data, Mapping):
            return data
        given = data.get("plugins") or {}
        plugins: dict[str, Any] = given.model_dump() if isinstance(given, Plugins) else dict(given)
        for part in ("teachers", "students", "recipes"):
            members = data.get(part)
            empty: dict[str, Any] = {name: {} for name in members} if isinstance(members, Mapping) else {}
            plugins[part] = {**empty, **(plugins.get(part) or {})}
        code = {"problem": _code(data, plugins), **refit_variables(data.get("refit")), **_teachers(data)}
        given = data.get("code") or {}
        code |= given.model_dump() if isinstance(given, Code) else given
        return {**data, "plugins": plugins, "code": code}

    def section(self) -> Workload:
        """Return the workload's part alone."""
        return Workload.model_validate(self.model_dump(exclude=set(FURTHER)))

    def to_yaml(self) -> str:
        """Return the canonical text: equal runs give equal bytes."""
        data = self.model_dump(mode="json")
        data["code"]["taught"].sort()  # as the teachers themselves
        return to_yaml(data, sort_keys=True)


def _teachers(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return which teachers are trained tonight, and since when the others are kept; nothing of bad sections."""
    teachers = data.get("teachers")
    with suppress(ValidationError):
        as_of = TypeAdapter(date).validate_python(data.get("as_of"))
        parsed = TypeAdapter(dict[str, Teacher]).validate_python(teachers)
        since = {name: teacher.since(as_of) for name, teacher in parsed.items()}
        return teacher_variables({name: day for name, day in since.items() if day}, parsed)
    return {}


def _code(data: Mapping[str, Any], plugins: Mapping[str, Any]) -> str:
    """Return the folder of our kind of learning. Another package's kind has no file of ours; its digest is tracked."""
    problem = data.get("problem")
    kind = problem.get("kind") if isinstance(problem, Mapping) else getattr(problem, "kind", "")
    return NO_KIND if plugins.get("problem") else f"tasks/problems/{kind}"


def parse_run(text: str | bytes, origin: str = RUN_FILE) -> Run:
    """Validate a run.yaml. Raises ConfigError."""
    with explained(f"{origin}: "):
        return Run.model_validate(read_mapping(text, origin))
