"""Whose code a release is rebuilt with."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tasks.core.errors import ConfigError
from tasks.rebuild.reproduction import _code, _with_plugins
from tests.plugins.install import install_acme, visible
from tests.unit.config.test_plugins import customers, opened


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, str]:
    """A project below the top of a checkout that has moved on, and its first commit."""
    top = tmp_path / "top"
    project = top / "project"
    project.mkdir(parents=True)

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", "-C", top, *identity, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    for text in ("old", "new"):
        (project / "code.py").write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", text)
    return project, git("rev-parse", "HEAD~1")


def test_the_release_s_own_code_if_its_commit_is_known(checkout: tuple[Path, str], tmp_path: Path) -> None:
    project, commit = checkout
    found, about = _code(project, commit, tmp_path / "code")
    assert (found / "code.py").read_text() == "old"
    assert about == f"the code is that of the release's commit {commit[:12]}"
    assert (project / "code.py").read_text() == "new"


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        ("", "does not name a commit"),
        ("unknown", "does not name a commit"),
        ("--output=/tmp/x", "does not name a commit"),
        ("HEAD", "does not name a commit"),
        ("{}-dirty", "differed from commit"),
        ("0123456789abcdef0123456789abcdef01234567", "commit 0123456789ab is not known here"),
    ],
)
def test_otherwise_the_folder_s_code_and_why(
    checkout: tuple[Path, str], tmp_path: Path, commit: str, said: str
) -> None:
    project, known = checkout
    found, about = _code(project, commit.format(known), tmp_path / "code")
    assert found == project and about.startswith("the code is this folder's: ") and said in about


def test_without_git_the_folder_s_code(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    found, about = _code(tmp_path / "plain", "0123456789ab", tmp_path / "code")
    assert found == tmp_path / "plain" and "is not known here" in about


def test_a_run_yaml_of_before_there_were_plugins_gets_what_the_pipeline_of_its_code_tracks() -> None:
    now = opened(customers())
    old = {key: value for key, value in now.items() if key not in ("plugins", "code", "threads")}
    text = yaml.safe_dump(old)
    tracked = '{deps: ["${code.problem}"], params: [run.yaml: [plugins.source]]}'
    found = yaml.safe_load(_with_plugins(text, tracked))
    assert found == {**old, "plugins": now["plugins"], "code": {"problem": now["code"]["problem"]}}
    loops = "".join(f'{{foreach: "${{code.{name}}}"}}' for name in ("refit", "kept", "taught"))
    found = yaml.safe_load(_with_plugins(text, tracked + loops + '{deps: ["${code.candidates}"]}'))
    assert found == {**old, "plugins": now["plugins"], "code": now["code"]}
    assert _with_plugins(text, "params: [run.yaml: [source]]") == text, "the release's own code tracks no plugins"


def test_a_release_is_rebuilt_with_the_plugins_that_are_installed_or_not_at_all(tmp_path: Path) -> None:
    with visible(tmp_path):
        install_acme(tmp_path)
        text = yaml.safe_dump(opened(customers(source={"kind": "acme-shop"})))
        install_acme(tmp_path, "1.3")
        found = yaml.safe_load(_with_plugins(text, "params: [run.yaml: [source]]"))
        assert found["plugins"]["source"]["acme"]["version"] == "1.3"
    with pytest.raises(ConfigError, match="plugin acme: the release was made with it, and it is not installed here"):
        _with_plugins(text, "params: [run.yaml: [source]]")


def test_a_release_of_before_refit_gets_no_variable_that_its_code_does_not_know() -> None:
    now = opened(customers())
    text = yaml.safe_dump({**now, "code": {"problem": now["code"]["problem"]}})
    found = yaml.safe_load(_with_plugins(text, 'deps: ["${code.problem}"]'))
    assert found["code"] == {"problem": now["code"]["problem"]}
