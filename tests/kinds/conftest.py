"""Small data of every kind of learning, ours and that of the example package, which is installed for these tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Problem
from tasks.tables.sources import get_source
from tasks.tables.table import Tables
from tests.plugins.install import install_acme, visible
from tests.unit.conftest import Sales
from tests.unit.gates.conftest import evaluation, gates, make_candidate, make_onnx  # noqa: F401 fixtures
from tests.unit.problems.ranking import films
from tests.unit.problems.tabular.labelled import homes
from tests.unit.problems.tabular.test_problem import AS_OF, OPTIONS, shop
from tests.unit.problems.text import letters
from tests.unit.problems.vision import shapes

# Kinds of learning with another way to their rows: name of the world -> options.
LABELLED: dict[str, dict[str, Any]] = {
    "tabular/value": homes.VALUE,
    "tabular/quantiles": homes.VALUE | {"quantiles": [0.1, 0.5, 0.9]},
    "tabular/yes-no": homes.YES_NO,
    "tabular/classes": homes.CLASSES,
}


@pytest.fixture(autouse=True, scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example package, installed as long as a module's tests run."""
    site = tmp_path_factory.mktemp("site")
    install_acme(site)
    with visible(site):
        yield


@dataclass(frozen=True)
class World:
    """A kind of learning with a table and its day; `name` is the kind, or one of `LABELLED`."""

    name: str

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]

    @cached_property
    def section(self) -> Spec:
        if self.name in LABELLED:
            return Spec(**LABELLED[self.name])
        options = {
            "forecasting": Sales.options,
            "tabular": OPTIONS,
            "ranking": {name: value for name, value in films.OPTIONS.items() if name != "kind"},
            "text": {name: value for name, value in letters.OPTIONS.items() if name != "kind"},
            "vision": {name: value for name, value in shapes.OPTIONS.items() if name != "kind"},
            "acme-visits": {"days": 7},
        }[self.kind]
        return Spec(kind=self.kind, **options)

    @cached_property
    def problem(self) -> Problem:
        return get_problem(self.section)

    @property
    def as_of(self) -> date:
        if self.name in LABELLED:
            return homes.AS_OF
        known = {
            "forecasting": Sales.as_of, "tabular": AS_OF, "ranking": films.AS_OF, "text": letters.AS_OF,
            "vision": shapes.AS_OF,
        }  # fmt: skip
        return known.get(self.kind, date(2026, 3, 1))

    @cached_property
    def table(self) -> pl.LazyFrame:
        if self.name in LABELLED:
            return homes.homes().lazy()
        ours: dict[str, Callable[[], pl.LazyFrame]] = {
            "forecasting": lambda: Sales().table(),
            "tabular": shop,
            "ranking": lambda: films.events().lazy(),
            "text": lambda: letters.letters().lazy(),
            "vision": lambda: shapes.labels().lazy(),
        }
        if self.kind in ours:
            return ours[self.kind]()
        (contract,) = self.problem.tables()
        source = get_source(Spec(kind="acme-shop"), (contract,), "visits", Path())
        return source.fetch(self.as_of).tables[contract.name].lazy()

    @property
    def tables(self) -> Tables:
        return {self.problem.tables()[0].name: self.table}

    @cached_property
    def dataset(self) -> Dataset:
        return self.problem.features(self.tables, self.as_of)


@pytest.fixture(scope="module")
def worlds(acme: None) -> Any:
    """World by kind of learning, or by name of one of `LABELLED`; each made once for a module."""
    made: dict[str, World] = {}

    def world(name: str) -> World:
        return made.setdefault(name, World(name))

    return world
