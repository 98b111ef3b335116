"""A section as text among the others of params.yaml, whose comments stay."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tasks.config.workload import Workload
from tasks.core.config import explained
from tasks.core.documents import read_mapping
from tasks.core.errors import ConfigError
from tasks.core.params import NAME, NAMING, load_sections

WIDTH = 110
INDENT = 2


def section_text(name: str, section: Mapping[str, Any], comments: Mapping[str, str], indent: int = INDENT) -> str:
    """The section as lines of YAML that begin `indent` deep. `comments`: dotted field -> what is said behind it."""
    lines = [f"{' ' * indent}{name}:"]
    for key, value in section.items():
        lines += _lines(key, key, value, comments, 2 * indent, indent)
    return "\n".join(lines) + "\n"


def require_new(params: Path | str, name: str) -> None:
    """Raises ConfigError when a params.yaml is not valid, has the section already, or none can be called so."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{params}: {name!r:.80} names no workload; {NAMING}")
    if name in load_sections(params, at_least=0):
        raise ConfigError(f"{params}: workloads.{name} is there already; take another name, or remove the section")


def add(params: Path, name: str, section: Mapping[str, Any], comments: Mapping[str, str]) -> None:
    """Writes the section behind the last one of a params.yaml, in one piece; nothing else of the file changes.

    Raises ConfigError when the file would not be what it was and the section, or the section is not valid.
    """
    require_new(params, name)
    with explained(f"{params}: workloads.{name}"):
        Workload.model_validate(section)
    params = params.resolve()
    before = params.read_text()
    after = _with(before, name, section, comments)
    old = read_mapping(before, str(params))
    wanted = {**old, "workloads": {**(old["workloads"] or {}), name: section}}
    try:
        same = read_mapping(after, str(params)) == wanted
    except ConfigError:
        same = False
    if not same:
        raise ConfigError(
            f"{params}: the section cannot be added to a file of this form; print it with --dry-run and paste it below "
            "workloads"
        )
    _replace(params, after)


def _with(text: str, name: str, section: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    places = [place for place, (key, _) in enumerate(root.value) if key.value == "workloads"]
    key, sections = root.value[places[0]]
    if not sections.value:  # `workloads:` or `workloads: {}`
        rest, line, below = text[sections.end_mark.index :].partition("\n")
        return f"{text[: key.end_mark.index]}:{rest}{line or chr(10)}{section_text(name, section, comments)}{below}"
    indent = sections.value[0][0].start_mark.column
    lines = text.splitlines(keepends=True)
    # What follows the last section may be another key of the document.
    following = root.value[places[0] + 1 :]
    end = following[0][0].start_mark.line if following else len(lines)
    head = "".join(lines[:end])
    head += "" if head.endswith("\n") else "\n"
    return f"{head}\n{section_text(name, section, comments, indent)}{''.join(lines[end:])}"


def _lines(key: str, path: str, value: Any, comments: Mapping[str, str], indent: int, deeper: int) -> list[str]:
    """One field: in one line if that is short, else its fields below it."""
    said = f"  # {comments[path]}" if path in comments else ""
    below = any(field.startswith(f"{path}.") for field in comments)
    line = f"{' ' * indent}{_flow(key)}: {_flow(value)}"
    if not isinstance(value, Mapping) or not value or (len(line) <= WIDTH and not below):
        return [line + said]
    lines = [f"{' ' * indent}{_flow(key)}:{said}"]
    for name, each in value.items():
        lines += _lines(name, f"{path}.{name}", each, comments, indent + deeper, deeper)
    return lines


def _flow(value: Any) -> str:
    text = yaml.dump(
        value, Dumper=_Plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9
    )  # fmt: skip
    return text.removesuffix("\n").removesuffix("\n...")


class _Plain(yaml.SafeDumper):
    """Writes every value out: two equal parts are no reference and anchor."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _replace(path: Path, text: str) -> None:
    """Another text in a file's place, all of it or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(path.stat().st_mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
