"""The drill of a lost S3: what ops see of a run and of releases while no store answers. One line each."""

from collections.abc import Sequence

import pytest
from botocore.retries.standard import ExponentialBackoff

from tasks.cli.main import main


@pytest.mark.parametrize(
    "command",
    [("show", "sales"), ("nights", "sales"), ("release", "verify", "sales"), ("release", "list", "sales")],
    ids=" ".join,
)
def test_while_s3_is_lost_each_command_says_so_in_one_line(
    command: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {
        "NIGHTSTILL_RUN_STORE": "s3://lost/store",
        "NIGHTSTILL_RELEASE_STORE": "s3://lost/releases",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "very-hush",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.0)  # all attempts, without the pauses
    with pytest.raises(SystemExit) as ended:
        main(list(command))
    out, err = capsys.readouterr()
    lines = err.strip().splitlines()
    assert ended.value.code == 75 and len(lines) == 1, out + err
    assert "s3://lost/" in lines[0] and "127.0.0.1:9" in lines[0] and "hush" not in out + err
