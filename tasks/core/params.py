"""This module reads `params.yaml` and the files of `workloads/` into sections, before their fields are validated.

Standard library and PyYAML only, and boto3 for a place in S3, because the orchestrator's environment imports it.
"""

import os
import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tasks.core.documents import read_mapping
from tasks.core.errors import ConfigError

PARAMS_FILE = "params.yaml"
GALLERY = "workloads"
ENDING = ".yaml"
PLACE_SETTING = "NIGHTSTILL_WORKLOADS_FROM"
SHOWN_SETTING = "NIGHTSTILL_WORKLOADS"
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
DEADLINE_MINUTES = 240
POLL_MINUTES = 5
NAMING = "use lower-case letters, digits and hyphens"
ASSET = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]{1,1400}")

Section = Mapping[str, Any]


class Found(NamedTuple):
    """A section as found: the file that holds it, and the SHA-256 of that file."""

    section: Section
    file: str
    sha256: str

    @property
    def label(self) -> str:
        """Return the file as people write it: params.yaml or workloads/<name>.yaml."""
        folder, _, name = self.file.rpartition("/")
        return f"{GALLERY}/{name}" if folder.rpartition("/")[2] == GALLERY and name != PARAMS_FILE else name


def params_place(project: Path, setting: str | None = None) -> str:
    """Return the address of params.yaml: in the place that NIGHTSTILL_WORKLOADS_FROM names, else in the project.

    A place is s3://bucket/prefix, or a folder, which may be relative to the project. `setting` overrides the variable.
    """
    place = os.environ.get(PLACE_SETTING, "") if setting is None else setting
    if "://" in place:
        return f"{place.rstrip('/')}/{PARAMS_FILE}"
    return str(project / place / PARAMS_FILE)


def load_sections(path: Path | str, *, at_least: int = 1) -> dict[str, Section]:
    """Return the sections of a params.yaml and of the files of `workloads/` beside it, by workload.

    Validated are name, title, timezone, schedule and waiting times. `at_least`: sections that params.yaml must have, 1
    or 0. Raises ConfigError naming the file, the field and what is wrong with it.
    """
    return {name: found.section for name, found in find_sections(path, at_least=at_least).items()}


def find_sections(path: Path | str, *, at_least: int = 1) -> dict[str, Found]:
    """Return the same with the file of each section; those of params.yaml first. Raises ConfigError."""
    params, *others = _documents(str(path))
    found = _sections(*params, scheduled=True, at_least=at_least)
    for file, data in others:
        if not file.endswith(ENDING):
            raise ConfigError(f"{file}: call it <workload>{ENDING}")
        sections = _sections(file, data, scheduled=False)
        wanted = file.rpartition("/")[2].removesuffix(ENDING)
        if list(sections) != [wanted]:
            raise ConfigError(
                f"{file}: workloads: expected one section, called {wanted!r} like the file; it has: "
                f"{', '.join(sections)}"
            )
        if wanted in found:
            raise ConfigError(f"{file}: workloads.{wanted} stands in {found[wanted].file} too; remove one")
        found.update(sections)
    return found


def shown(path: Path | str, further: str, asked: Collection[str] = ()) -> dict[str, Section]:
    """Return the sections that have DAGs: all of params.yaml, and those of `workloads/` that somebody wants to see.

    `further`: names of the setting NIGHTSTILL_WORKLOADS, divided by commas. `asked`: names that count only where there
    is such a workload. Raises ConfigError on a name of the setting that is no workload.
    """
    found = find_sections(path)
    named = [name.strip() for name in further.split(",") if name.strip()]
    if unknown := [name for name in named if name not in found]:
        raise ConfigError(f"{SHOWN_SETTING}: no workload {unknown[0]!r:.80}; there are: {', '.join(sorted(found))}")
    wanted = {*named, *asked}
    return {name: each.section for name, each in found.items() if each.label == PARAMS_FILE or name in wanted}


def _documents(path: str) -> list[tuple[str, bytes]]:
    """Return address and bytes of params.yaml, then of the files of `workloads/`, by name. Raises ConfigError."""
    if "://" in path:
        return _of_store(path.removesuffix(f"/{PARAMS_FILE}"))
    folder = Path(path).parent / GALLERY
    files = sorted(each for each in folder.glob("*.y*ml") if not each.name.startswith("."))
    return [(str(each), _read(each)) for each in (Path(path), *files)]


def _of_store(place: str) -> list[tuple[str, bytes]]:
    from tasks.core.storage import open_store

    store = open_store(place)
    there = store.keys(f"{GALLERY}/")
    files = (key for key in there if key.count("/") == 1 and key.endswith((ENDING, ".yml")))
    keys = [PARAMS_FILE, *(key for key in files if not key.startswith(f"{GALLERY}/."))]
    try:
        return [(store.url(key), store.read(key)) for key in keys]
    except KeyError as error:
        raise ConfigError(f"{place}: no {error.args[0]}; put it there or change {PLACE_SETTING}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run from the project's folder or set NIGHTSTILL_PROJECT") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error


def _sections(file: str, data: bytes, *, scheduled: bool, at_least: int = 1) -> dict[str, Found]:
    """Return the sections of one file. `scheduled`: a section must say when its nights start."""
    document = read_mapping(data, file)
    sections = document.get("workloads")
    if not at_least and "workloads" in document and not sections:
        return {}
    if not isinstance(sections, Mapping) or not sections:
        raise ConfigError(f"{file}: workloads: expected at least one section, by its workload's name")
    for name, section in sections.items():
        where = f"{file}: workloads.{name}"
        if not NAME.fullmatch(str(name)):
            raise ConfigError(f"{file}: workloads: {name!r:.80} names no workload; {NAMING}")
        wanted = ("title", "schedule") if scheduled else ("title",)
        if not isinstance(section, Mapping) or not isinstance(section.get("title"), str) or wanted[-1] not in section:
            raise ConfigError(f"{where}: expected a section with a {' and a '.join(wanted)}")
        _check_timezone(section.get("timezone", "UTC"), f"{where}.timezone")
        try:
            upstream_asset(section.get("schedule"))
            patience(section)
        except ValueError as error:
            raise ConfigError(f"{where}.{error}") from None
    digest = sha256(data).hexdigest()
    return {str(name): Found(section, file, digest) for name, section in sections.items()}


def upstream_asset(schedule: Any) -> str:
    """Return the asset that starts a workload's nights; empty for a cron expression, and for nights run by hand (None).

    Raises ValueError on all else.
    """
    if schedule is None or isinstance(schedule, str):
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
