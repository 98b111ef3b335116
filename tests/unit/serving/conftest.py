"""A store of releases in a folder, and a consumer's cache."""

from pathlib import Path

import pytest

from tasks.releases.store import ReleaseStore
from tests.serving_releases import open_releases


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "releases"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def releases(folder: Path) -> ReleaseStore:
    return open_releases(folder)
