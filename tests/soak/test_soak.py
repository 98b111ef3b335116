"""Nights in a row under real Airflow, with a planned calendar of trouble: every one ends as it must.

Six nights by default, thirty with NIGHTSTILL_SOAK_NIGHTS=30 (`make soak`).
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tasks.releases.store import ReleaseStore
from tests.conftest import new_bucket, remove_bucket
from tests.soak.nights import LONG, OTHER, SHORT, Planned
from tests.soak.world import World

pytestmark = [pytest.mark.timeout(7200)]
CALENDARS = {"6": SHORT, "30": LONG}


@dataclass(frozen=True)
class Lived:
    """A night that has been: `champion` afterwards, and how long it took."""

    planned: Planned
    as_of: str
    actual: str
    champion: int
    minutes: float


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    bucket = new_bucket()
    world = World(tmp_path_factory.mktemp("soak") / "project", bucket)
    try:
        world.up()
        yield world
    finally:
        world.down()
        remove_bucket(bucket)


@pytest.fixture(scope="module")
def lived(world: World) -> list[Lived]:
    """All nights of the calendar."""
    calendar = CALENDARS[os.environ.get("NIGHTSTILL_SOAK_NIGHTS", "6")]
    console, nights, day = Console(width=140), list[Lived](), world.yesterday - timedelta(days=len(calendar))
    for planned in calendar:
        day += timedelta(days=0 if planned.again else 1)
        begun = time.monotonic()
        with planned.trouble(world, day):
            night = world.night("--as-of", str(day))
        actual = world.actual(night)
        if planned.beside:
            actual = " + ".join(sorted(world.outcome_of(run_id) for run_id in (night.run_id, f"{OTHER}-{day}")))
        champion = releases(world).champion()
        row = Lived(planned, str(day), actual, champion.release if champion else 0, (time.monotonic() - begun) / 60)
        nights.append(row)
        right = "as planned" if planned.right(actual) else f"PLANNED {planned.expected}\n{night.output}"
        console.print(f"{row.as_of} {planned.name}: {actual}, champion {row.champion}: {right}", markup=False)
    show(console, nights)
    return nights


def releases(world: World) -> ReleaseStore:
    return ReleaseStore(world.settings.releases(), "sales")


def show(console: Console, nights: list[Lived]) -> None:
    """Night by night, as a person wants to see it."""
    table = Table("", "as of", "night", "planned", "actual", "champion", "minutes")
    for number, night in enumerate(nights, start=1):
        mark = "" if night.planned.right(night.actual) else "✗ "
        row = (night.as_of, night.planned.name, night.planned.expected, mark + night.actual, str(night.champion))
        table.add_row(str(number), *row, f"{night.minutes:.1f}")
    console.print(table)


def test_every_night_ends_as_planned(lived: list[Lived]) -> None:
    wrong = [night for night in lived if not night.planned.right(night.actual)]
    assert not wrong
    assert [night.planned.name for night in lived if "promoted" in night.actual and not night.planned.good] == []


def test_the_champion_changes_in_good_nights_and_by_rollbacks_alone(world: World, lived: list[Lived]) -> None:
    entries = releases(world).ledger.entries()
    promotions = [entry for entry in entries if entry.kind == "promote"]
    assert len(promotions) == sum(night.planned.good for night in lived)
    for before, after in pairwise(lived):
        if not after.planned.good:
            assert after.champion == before.champion, after.planned.name


def test_the_ledger_and_every_release_hold(world: World, lived: list[Lived]) -> None:
    assert "every digest holds" in world.operate("release", "verify", "sales")


def test_the_registry_has_every_release_once_and_its_champion(world: World, lived: list[Lived]) -> None:
    world.operate("registry", "sync", "sales")
    from mlflow import MlflowClient

    client, name = MlflowClient(world.mlflow.url), "nightstill-sales"
    versions: list[Any] = client.search_model_versions(f"name = '{name}'")
    promoted = [entry.release for entry in releases(world).ledger.entries() if entry.kind == "promote"]
    assert sorted(int(version.tags["release"]) for version in versions) == promoted
    champion = releases(world).champion()
    assert champion is not None
    assert client.get_model_version_by_alias(name, "champion").tags["release"] == str(champion.release)


def test_nothing_is_left_behind(world: World, lived: list[Lived]) -> None:
    """No process, no workspace, and no file of a release that is none."""
    assert [stage for stage in ("snapshot", "teach@lstm", "promote", "report") if world.stage_pids(stage)] == []
    known = {entry.files for entry in releases(world).ledger.entries()}
    stored = {"/".join(key.split("/")[:3]) for key in world.settings.releases().keys("sales/files/")}
    overlaps = sum("superseded" in night.actual for night in lived)
    assert len(stored - known) <= overlaps, "but for those of the runs that came second, which `release prune` removes"
