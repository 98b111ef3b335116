"""`params.yaml` as everybody reads it, before its fields are validated: sections by workload.

Standard library and PyYAML only, because the orchestrator's environment imports this module.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tasks.core.documents import read_mapping
from tasks.core.errors import ConfigError

PARAMS_FILE = "params.yaml"
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
NAMING = "use lower-case letters, digits and hyphens"
TEXTS = ("title", "schedule")

Section = Mapping[str, Any]


def load_sections(path: Path) -> dict[str, Section]:
    """The sections of a params.yaml by workload, none of them validated but for its name, title, schedule and timezone.

    Raises ConfigError naming the file, the field and what is wrong with it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run from the project's folder or set NIGHTSTILL_PROJECT") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    sections = read_mapping(data, str(path)).get("workloads")
    if not isinstance(sections, Mapping) or not sections:
        raise ConfigError(f"{path}: workloads: expected at least one section, by its workload's name")
    for name, section in sections.items():
        where = f"{path}: workloads.{name}"
        if not NAME.fullmatch(str(name)):
            raise ConfigError(f"{path}: workloads: {name!r:.80} names no workload; {NAMING}")
        if not isinstance(section, Mapping) or not all(isinstance(section.get(field), str) for field in TEXTS):
            raise ConfigError(f"{where}: expected a section with a {' and a '.join(TEXTS)}")
        _check_timezone(section.get("timezone", "UTC"), f"{where}.timezone")
    return {str(name): section for name, section in sections.items()}


def _check_timezone(name: Any, where: str) -> None:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, TypeError, OSError):
        raise ConfigError(f"{where}: {name!r:.80} is no timezone; name one such as Europe/Berlin or UTC") from None
