"""This module reads `params.yaml` into sections by workload, before their fields are validated.

Standard library and PyYAML only, because the orchestrator's environment imports this module.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tasks.core.documents import read_mapping
from tasks.core.errors import ConfigError

PARAMS_FILE = "params.yaml"
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
DEADLINE_MINUTES = 240
POLL_MINUTES = 5
NAMING = "use lower-case letters, digits and hyphens"
ASSET = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]{1,1400}")

Section = Mapping[str, Any]


def load_sections(path: Path) -> dict[str, Section]:
    """Return a params.yaml's sections by workload: validated are name, title, timezone, schedule and waiting times.

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
        if not isinstance(section, Mapping) or not isinstance(section.get("title"), str) or "schedule" not in section:
            raise ConfigError(f"{where}: expected a section with a title and a schedule")
        _check_timezone(section.get("timezone", "UTC"), f"{where}.timezone")
        try:
            upstream_asset(section["schedule"])
            patience(section)
        except ValueError as error:
            raise ConfigError(f"{where}.{error}") from None
    return {str(name): section for name, section in sections.items()}


def upstream_asset(schedule: Any) -> str:
    """Return the asset that starts a workload's nights; empty for a cron expression. Raises ValueError on all else."""
    if isinstance(schedule, str):
        return ""
    asset = schedule.get("asset") if isinstance(schedule, Mapping) and len(schedule) == 1 else None
    if not isinstance(asset, str):
        raise ValueError(f"schedule: {schedule!r:.80} is neither a cron expression nor {{asset: URI}}")  # noqa: TRY004
    if not ASSET.fullmatch(asset) or asset.startswith("airflow:"):
        raise ValueError(f"schedule.asset: {asset!r:.80} is no URI of an asset; write one such as s3://bucket/sales")
    return asset


class Patience(NamedTuple):
    """Patience is how many minutes a night waits for late data (0: not at all), and how many between two checks."""

    wait: float
    poll: float


def patience(section: Section) -> Patience:
    """Return `source.wait_minutes` and `source.poll_minutes`. Raises ValueError that begins with the field.

    A night that waited as long as it may tells of late data; its deadline must come later.
    """
    source = section.get("source")
    source = source if isinstance(source, Mapping) else {}
    found = Patience(_minutes(source, "wait_minutes", 0), _minutes(source, "poll_minutes", POLL_MINUTES))
    deadline = section.get("deadline_minutes", DEADLINE_MINUTES)
    if not found.poll:
        raise ValueError("source.poll_minutes: 0 minutes between two looks; write more, such as 5")
    if found.wait and isinstance(deadline, int | float) and found.wait >= deadline:
        raise ValueError(
            f"source.wait_minutes: {found.wait:g} is not before the deadline; write less than {deadline} "
            "(deadline_minutes)"
        )
    return found


def _minutes(source: Section, field: str, default: float) -> float:
    value = source.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"source.{field}: {value!r:.80} is no number of minutes")
    return value


def _check_timezone(name: Any, where: str) -> None:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, TypeError, OSError):
        raise ConfigError(f"{where}: {name!r:.80} is no timezone; name one such as Europe/Berlin or UTC") from None
