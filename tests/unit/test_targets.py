"""What CI runs of the Makefile reaches every file of tests, and each by one target."""

import os
import re
import shlex
import subprocess
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TAKES_A_VALUE = ("--ignore", "--ignore-glob")


def commands(project: Path) -> list[list[str]]:
    """The arguments of each pytest that CI runs, as make says them without running them."""
    script = (project / ".ci" / "run").read_text()
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    targets = [word for words in re.findall(r"\bmake((?: [a-z-]+)+)", code) for word in words.split()]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    make = ["make", "--no-print-directory", "--dry-run", *dict.fromkeys(targets)]
    said = subprocess.run(make, cwd=project, env=own, capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if " -m pytest " in line]
    return [shlex.split(line.partition(" -m pytest ")[2]) for line in lines]


def reached(arguments: list[str], files: list[str]) -> set[str]:
    """The files of tests that pytest collects with these arguments."""
    given, left_out = [], []
    words = iter(arguments)
    for word in words:
        if word in TAKES_A_VALUE:
            left_out.append(next(words))
        elif not word.startswith("-"):
            given.append(word)
    return {file for file in files if _lies_in(file, given) and not _lies_in(file, left_out)}


def _lies_in(file: str, places: list[str]) -> bool:
    return any(file == place or file.startswith(f"{place}/") or fnmatch(file, place) for place in places)


def not_once(project: Path) -> dict[str, int]:
    """Files of tests -> how many of CI's commands reach them, where that isn't one."""
    files = sorted(path.relative_to(project).as_posix() for path in (project / "tests").rglob("test_*.py"))
    counts = Counter(file for arguments in commands(project) for file in reached(arguments, files))
    return {file: counts[file] for file in files if counts[file] != 1}


def test_ci_reaches_each_file_of_tests_by_one_target() -> None:
    assert not_once(PROJECT) == {}


@pytest.mark.parametrize(("added", "times"), [("tests/new/test_it.py", 0), ("tests/unit/dags/test_it.py", 2)])
def test_a_file_that_is_forgotten_or_run_twice_is_found(tmp_path: Path, added: str, times: int) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text("# make nothing\nmake one JOBS=2 || failed=$?\nmake two\n")
    lines = "one:\n\tpython -m pytest tests/unit --ignore tests/unit/old\ntwo:\n\t@python -m pytest tests/unit/dags\n"
    (tmp_path / "Makefile").write_text(lines)
    for name in ("tests/unit/test_that.py", added):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert not_once(tmp_path) == {added: times}
