"""The digest of an installed package: equal for equal code, however it was installed."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tasks.core.distributions import distribution_digest
from tasks.core.errors import ConfigError
from tests.plugins.install import ACME, install_acme, visible


def digest(site: Path) -> str:
    with visible(site):
        return distribution_digest(distribution("acme"))


def test_every_byte_of_code_counts_and_bytecode_does_not(tmp_path: Path) -> None:
    install_acme(tmp_path / "a")
    before = digest(tmp_path / "a")
    (tmp_path / "a" / "acme" / "__pycache__").mkdir()
    (tmp_path / "a" / "acme" / "__pycache__" / "loss.cpython-311.pyc").write_bytes(b"x")
    assert digest(tmp_path / "a") == before
    install_acme(tmp_path / "b", loss="\n")
    assert digest(tmp_path / "b") != before
    (tmp_path / "a" / "acme" / "table.csv").write_text("1")  # not listed, but a file of the package
    assert digest(tmp_path / "a") != before


def test_an_entry_point_that_moves_counts(tmp_path: Path) -> None:
    install_acme(tmp_path)
    before = digest(tmp_path)
    entries = tmp_path / "acme-1.2.dist-info" / "entry_points.txt"
    entries.write_text(entries.read_text().replace("acme.loss:Gap", "acme.loss:Other"))
    assert digest(tmp_path) != before


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    install_acme(tmp_path)
    (tmp_path / "acme" / "loss.py").unlink()
    import importlib_metadata  # noqa: F401  it finds distributions too from now on, as where MLflow was imported

    with pytest.raises(ConfigError, match=r"acme 1\.2: its file acme/loss\.py cannot be read; install it again"):
        digest(tmp_path)


@pytest.mark.parametrize("hook", ["build_wheel", "build_editable"])
def test_a_wheel_and_an_editable_installation_have_the_digest_of_their_files(hook: str, tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(ACME, source)
    (tmp_path / "dist").mkdir()
    code = f"from setuptools.build_meta import {hook} as build; print(build({str(tmp_path / 'dist')!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, env={**os.environ})
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(site)
    check = (
        f"import site; site.addsitedir({str(site)!r}); from importlib.metadata import distribution; "
        "from tasks.core.distributions import distribution_digest; print(distribution_digest(distribution('acme')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    found = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    install_acme(tmp_path / "plain")
    assert found.stdout.strip() == digest(tmp_path / "plain")
