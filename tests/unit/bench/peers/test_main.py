import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
import typer

from bench.peers import get_peer
from bench.peers.__main__ import main
from tasks.core.errors import ConfigError, UsageError

PROJECT = Path(__file__).parents[4]


def run(out: Path, data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.peers", "--out", str(out), *options]
    environment = {**os.environ, "NIGHTSTILL_BENCH_DATA": str(data)}
    return subprocess.run(command, check=False, env=environment, cwd=PROJECT, capture_output=True, text=True)


@pytest.fixture
def exchange(tmp_path: Path) -> Path:
    """A folder of data with a set of 1,000 days, each value its day's number."""
    days = pl.date_range(pl.date(2000, 1, 1), pl.date(2002, 9, 26), eager=True).dt.strftime("%Y/%m/%d 0:00")
    (tmp_path / "data" / "ltsf_others").mkdir(parents=True)
    frame = pl.DataFrame({"date": days, "OT": range(len(days))}).with_columns(pl.col("OT").cast(pl.Float64))
    frame.write_parquet(tmp_path / "data" / "ltsf_others" / "exchange_rate.parquet")
    return tmp_path / "data"


def test_unknown_peers_are_named() -> None:
    with pytest.raises(ConfigError, match="there is no 'prophet'; there are: seasonal-naive"):
        get_peer("prophet")


@pytest.mark.skipif(find_spec("neuralforecast") is not None, reason="it is installed here")
def test_missing_libraries_are_named() -> None:
    with pytest.raises(ConfigError, match=r"neuralforecast is not installed here; .*bench-setup"):
        get_peer("nhits")


def test_a_peer_is_measured_in_a_process_of_its_own(exchange: Path, tmp_path: Path) -> None:
    ended = run(tmp_path / "out", exchange, "--set", "exchange", "--peer", "seasonal-naive", "--seed", "3", "--here")
    assert ended.returncode == 0, ended.stderr
    said = json.loads((tmp_path / "out" / "exchange-seasonal-naive-3.json").read_text())
    # The last value repeated is h days behind at step h; the training part is the days 0 ... 699.
    variance = (700**2 - 1) / 12
    assert said["errors"]["mse"] == pytest.approx(97 * 193 / 6 / variance, rel=1e-4) and said["rows"] == 105
    assert (said["set"], said["peer"], said["seed"], said["settings"]) == (
        "exchange",
        "seasonal-naive",
        3,
        {"season": 1},
    )


def test_existing_results_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "exchange-seasonal-naive-0.json").write_text("{}")
    with pytest.raises(typer.Exit) as ended:
        main(tmp_path, ["exchange"], ["seasonal-naive"], [0])
    assert ended.value.exit_code == 0 and "exists, skipped" in capsys.readouterr().err


def test_unknown_sets_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no set or peer: m6"):
        main(tmp_path, ["m6"], ["seasonal-naive"], [0])
