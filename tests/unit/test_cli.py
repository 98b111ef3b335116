"""What the command line says of wrong usage: one line and exit code 64, which no runner tries again."""

import pytest

from tasks import cli


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["run-stage"], "stage"),
        (["plan", "--workload", "sales", "--run-id", "r", "--as-of", "yesterday"], "as-of"),
        (["show", "sales", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 64
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said in line


def test_a_fault_of_ours_is_told_in_one_line_and_with_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(cli, "Settings", broken)
    with pytest.raises(SystemExit) as caught:
        cli.main(["show", "sales"])
    assert caught.value.code == 70
    told = capsys.readouterr().err
    assert "error: ZeroDivisionError: nothing to divide by" in told and "Traceback" in told
