"""`nightstill release`: what it prints, and which exit code says what went wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.cli.main import main
from tests.tamper import put

PROJECT = Path(__file__).parents[3]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, output and errors of one command."""
    monkeypatch.setenv("NIGHTSTILL_RELEASE_STORE", str(folder))
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(PROJECT))

    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["release", *arguments])
        return int(caught.value.code or 0), *capsys.readouterr()

    return command


@pytest.fixture
def three(releases: Any) -> Any:
    for text in ("one", "two", "three"):
        releases.promote(text)
    return releases


def test_a_typo_in_a_section_keeps_nobody_from_going_back(
    three: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text("workloads: {sales: {title: x, schdule: y}}\n")
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    assert run("rollback", "sales", "--reason", "a bad model")[0] == 0
    assert run("list", "customers")[0] == 78


def test_a_rollback_a_pin_and_a_prune_show_in_the_list(three: Any, run: Run) -> None:
    assert run("rollback", "sales", "--reason", "a bad model")[:2] == (
        0,
        "sales: ledger entry 4: release 2 is champion again\n",
    )
    assert run("pin", "sales", "--reason", "the sale")[:2] == (
        0,
        "sales: ledger entry 5: release 2 is pinned\n",
    )
    code, said, _ = run("prune", "sales", "--keep", "1", "--dry-run")
    assert (code, "would remove 0 files" in said) == (0, True)
    code, said, _ = run("list", "sales")
    rows = [[cell.strip() for cell in line.split("│")[1:5]] for line in said.splitlines() if line.startswith("│")]
    assert (code, [row for row in rows if row[0]]) == (
        0,
        [
            ["1", "promote", "1", ""],
            ["2", "promote", "2", "champion,"],
            ["3", "promote", "3", "rolled back"],
            ["4", "rollback", "2", ""],
            ["5", "pin", "2", ""],
        ],
    )
    assert "pinned" in said
    code, said, _ = run("show", "sales", "2")
    assert code == 0 and "release 2 is now: champion, pinned" in said and "model.onnx" in said
    assert run("unpin", "sales", "--reason", "the sale is over")[0] == 0
    assert run("rollback", "sales", "--to", "1", "--reason", "a bad model")[0] == 0
    code, said, _ = run("prune", "sales", "--keep", "1")
    assert code == 0 and "removed 3 files" in said and "releases 2" in said and "kept     1, 3" in said
    code, said, _ = run("show", "sales", "2")
    assert code == 0 and "its files were removed by ledger entry 8 (keep 1)" in said
    assert run("verify", "sales")[1] == (
        "sales: 8 ledger entries, 2 releases, 6 files with 12 bytes: every digest holds; 1 pruned\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "nonsense"], "no workload 'nonsense'; there are: churn, customers, "),
        (["verify", "nonsense"], "no workload 'nonsense'; there are: "),
        (["show", "sales", "9"], "sales: no ledger entry 9; there are 3"),
        (["verify", "sales", "9"], "sales: no release 9; there are: 1, 2, 3"),
        (["diff", "sales", "1", "9"], "sales: no release 9; there are: 1, 2, 3"),
        (["reproduce", "sales", "9"], "sales: no release 9; there are: 1, 2, 3"),
        (["reproduce", "sales", "1"], "sales release 1: has no dvc.lock"),
        (["rollback", "sales", "--to", "9", "--reason", "a bad model"], "sales: no release 9; there are: 1, 2, 3"),
        (["rollback", "sales", "--to", "3", "--reason", "a bad model"], "sales: release 3 is champion already"),
        (["rollback", "sales"], "--reason"),
        (["unpin", "sales", "--reason", "a bad model"], "sales: release 3 is not pinned"),
        (["prune", "sales", "--keep", "0"], "--keep"),
        (["pin", "customers", "--reason", "a bad model"], "customers: no release yet"),
        (["verify", "customers"], "customers: no release yet"),
        (["rollback", "customers", "--reason", "a bad model"], "customers: no release was champion before"),
    ],
)
def test_wrong_usage_is_64_and_says_what_there_is(three: Any, run: Run, arguments: list[str], said: str) -> None:
    code, _, errors = run(*arguments)
    assert code == 64 and said in errors


def test_a_pinned_champion_is_not_rolled_back_and_the_way_out_is_named(three: Any, run: Run) -> None:
    run("pin", "sales", "--reason", "the sale of june")
    code, _, errors = run("rollback", "sales", "--reason", "a bad model")
    assert code == 64 and "`nightstill release unpin sales --reason …` first" in errors


def test_a_changed_byte_is_76_and_names_the_file(three: Any, run: Run, folder: Path) -> None:
    path = folder / three.release(2).files / "contract.json"
    put(path, "[]")
    for arguments in (("verify", "sales"), ("verify", "sales", "2"), ("rollback", "sales", "--reason", "a bad model")):
        code, _, errors = run(*arguments)
        assert code == 76 and str(path) in errors
    assert run("verify", "sales", "1")[0] == 0


def test_a_workload_without_releases_lists_none(run: Run) -> None:
    assert run("list", "sales")[:2] == (0, "sales: no release yet\n")


def test_releases_of_a_workload_that_is_configured_no_longer_are_still_there(releases: Any, run: Run) -> None:
    other = type(releases)(releases.store, "old")
    other.promote("one")
    assert run("verify", "old")[0] == 0


def test_differences_for_machines_and_for_people(three: Any, run: Run) -> None:
    code, said, _ = run("diff", "sales", "1", "2", "--json", "--no-latency")
    document = json.loads(said)
    assert (code, document["a"], document["b"]) == (0, 1, 2)
    assert document["sections"]["size"][0] == {"name": "bytes", "a": 3, "b": 3, "equal": True, "change": 0.0}
    code, said, _ = run("diff", "sales", "1", "3")
    assert code == 0 and "params: not known" in said and "cannot be measured" in said


@pytest.mark.parametrize("reason", ["", "short", " \n\t" * 9, "x" * 501, "x" * 120_000, "\x1b[2J\x1b\n\0", "-" * 20])
@pytest.mark.parametrize("command", [("rollback", "sales"), ("pin", "sales"), ("prune", "sales", "--keep", "1")])
def test_a_reason_that_says_nothing_or_too_much_is_refused(
    three: Any, run: Run, command: tuple[str, ...], reason: str
) -> None:
    if command[0] == "prune" and not reason:  # its number of releases says enough
        return
    code, _, errors = run(*command, f"--reason={reason}")
    assert code == 64 and "say why in 8 to 500" in errors and len(errors) < 200
    assert three.champion().seq == 3


def test_a_reason_is_kept_as_one_line_of_what_can_be_seen(three: Any, run: Run) -> None:
    assert run("prune", "sales", "--keep", "1", "--reason", "the disk\nis full")[0] == 0
    assert three.champion().reason == "keep 1; the disk is full"
    assert run("rollback", "sales", "--reason", 'bad\r\n\x1b[2Jmodel\n{"uri": "forged"}')[0] == 0
    assert three.champion().reason == 'bad [2Jmodel {"uri": "forged"}'
