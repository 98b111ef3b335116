"""Kinds by our tables and other packages' entry points; what is wrong with one is one line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.loader import Kinds, load, plugin, plugins
from tests.plugins.install import install, visible

MODULE = {"beta.py": "class Base: ...\nclass Good(Base):\n    kind = 'good'\ndef make(*_): ...\nvalue = 3\n"}


class Base:
    """What a component must be."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    with visible(tmp_path):
        yield tmp_path


def added(site: Path, **kinds: str) -> None:
    install(site, "beta", "0.3", {"nightstill.sources": kinds}, MODULE)


def test_ours_are_loaded_when_they_are_named(site: Path) -> None:
    kinds = Kinds("sources", {"path": "pathlib:Path", "gone": "no.such.module:Thing"})
    assert list(kinds) == ["path", "gone"] and len(kinds) == 2
    assert kinds["path"] is Path is load("pathlib:Path")


def test_others_stand_behind_ours_and_are_not_imported_before_they_are_named(site: Path) -> None:
    added(site, good="beta:make", broken="beta_that_is_gone:make")
    kinds = Kinds("sources", {"path": "pathlib:Path"})
    assert list(kinds) == ["path", "broken", "good"] and "good" in kinds
    assert kinds["good"].__name__ == "make"
    found = plugin("sources", "good")
    assert found is not None and str(found) == "beta 0.3"
    assert plugin("sources", "path") is None and plugin("steps", "good") is None


def test_a_name_may_say_which_kind_of_learning_it_fits(site: Path) -> None:
    install(site, "beta", "0.3", {"nightstill.models": {"tabular.line": "beta:make", "flat": "beta:make"}}, MODULE)
    assert list(plugins("models", "tabular")) == ["flat", "line"]
    assert list(plugins("models", "forecasting")) == ["flat"]
    with pytest.raises(ConfigError, match=r"model\.kind: unknown kind 'line' for forecasting; there are: flat$"):
        Kinds("models", {}, learning="forecasting").find("line", "model.kind")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("beta_that_is_gone:make", "ModuleNotFoundError: No module named 'beta_that_is_gone'"),
        ("beta:lost", "AttributeError: module 'beta' has no attribute 'lost'"),
        ("beta:value", "beta:value cannot be called"),
    ],
)
def test_a_broken_one_is_one_line_with_its_package(site: Path, value: str, message: str) -> None:
    added(site, odd=value)
    with pytest.raises(ConfigError) as caught:
        Kinds("sources", {}).find("odd", "source.kind")
    assert str(caught.value).startswith("source.kind: 'odd' of beta 0.3")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_one_that_fails_while_it_is_imported_is_one_line(site: Path) -> None:
    files = {"beta.py": "raise RuntimeError('two\\nlines')\n"}
    install(site, "beta", "0.3", {"nightstill.sources": {"odd": "beta:make"}}, files)
    with pytest.raises(ConfigError, match="cannot be loaded from beta:make: RuntimeError: two lines"):
        Kinds("sources", {}).find("odd", "source.kind")


def test_one_that_is_no_such_component_or_calls_itself_otherwise_is_refused(site: Path) -> None:
    added(site, alien="beta:Base", other="beta:Good")
    with pytest.raises(ConfigError, match="beta:Base is not a subclass of Base"):
        Kinds("sources", {}, Base).find("alien", "kind")
    with pytest.raises(ConfigError, match="calls itself 'good'"):
        Kinds("sources", {}).find("other", "kind")


def test_a_kind_that_is_there_twice_is_refused_whoever_has_it(site: Path) -> None:
    added(site, path="beta:make", both="beta:make")
    install(site, "gamma", "1", {"nightstill.sources": {"both": "gamma:make"}}, {"gamma.py": "def make(*_): ...\n"})
    kinds = Kinds("sources", {"path": "pathlib:Path"})
    with pytest.raises(ConfigError, match=r"'path' of .* more than once: Nightstill's own, beta 0\.3"):
        kinds.find("path", "source.kind")
    for look in (lambda: kinds["both"], lambda: plugin("sources", "both")):
        with pytest.raises(ConfigError, match=r"more than once: beta 0\.3, gamma 1; keep one"):
            look()
