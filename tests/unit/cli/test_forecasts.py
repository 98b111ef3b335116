"""`nightstill score --keep` and `nightstill fresh`, on a small table and with an untrained model's release."""

import hashlib
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tasks.cli.main import main
from tasks.compression.export import export_onnx
from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.settings import Settings
from tasks.pipeline.handover.run_store import RunStore
from tasks.problems import get_problem
from tasks.problems.contracts import contract_to_json
from tasks.problems.models import build_model
from tasks.releases.store import ReleaseStore
from tests.conftest import LAST_DAY, PROJECT, sales_table, small_sales

DAY = str(LAST_DAY)


class Shop:
    """A project of one workload, its table and its forecasts."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root, self.settings = root, settings

    def table(self, last: date = LAST_DAY, factor: float = 1) -> pl.DataFrame:
        table: pl.DataFrame = sales_table(last, days=150, stores=2, departments=1)
        table = table.with_columns(units=pl.col("units") * factor)
        table.write_parquet(self.root / "sales.parquet")
        return table

    def release(self) -> None:
        section = load_workload(self.root / "params.yaml", "sales")
        problem = get_problem(section.problem)
        dataset = problem.features({problem.tables()[0].name: self.table().lazy()}, LAST_DAY)
        model = build_model(section.students["student"].model, dataset.contract).eval()
        run = Run(**section.model_dump(), workload="sales", as_of=LAST_DAY, champion=0)
        files = {
            "model.onnx": export_onnx(model, dataset.contract, dataset.inputs(dataset.splits["valid"][:2])),
            "contract.json": json.dumps(contract_to_json(dataset.contract)).encode(),
            "run.yaml": run.to_yaml().encode(),
        }
        releases = ReleaseStore(self.settings.releases(), "sales")
        releases.publish(files, expected=0, run_id="run", as_of=LAST_DAY, reason="first")

    def kept(self) -> list[str]:
        folder = Path(self.settings.forecasts)
        return sorted(path.relative_to(folder).as_posix() for path in folder.glob("sales/*/*"))


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a release, to be copied: a model takes a second to export."""
    root = tmp_path_factory.mktemp("shop")
    section = yaml.safe_load((PROJECT / "params.yaml").read_text())["workloads"]["sales"]
    (root / "params.yaml").write_text(yaml.safe_dump({"workloads": {"sales": small_sales(section)}}))
    Shop(root, Settings(home=root, project=root)).release()
    return root


@pytest.fixture
def shop(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    settings = Settings(home=tmp_path, project=tmp_path, release_store=str(released / "releases"))
    (tmp_path / "params.yaml").write_bytes((released / "params.yaml").read_bytes())
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    shop = Shop(tmp_path, settings)
    shop.table()
    return shop


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, Any]]:
    """Runs the program: exit code, what it says, and the result that it hands on."""

    def call(*arguments: str) -> tuple[int, str, Any]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        results = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        assert isinstance(ended.value.code, int)
        return ended.value.code, err + out, results[-1] if results else None

    return call


def test_forecasts_are_kept_with_what_made_them_and_not_twice(shop: Shop, run: Any) -> None:
    code, said, result = run("score", "sales", "--keep", "--as-of", DAY)
    assert code == 0, said
    assert shop.kept() == [f"sales/{DAY}/1.json", f"sales/{DAY}/1.parquet"]
    told = json.loads(Path(result["uri"]).read_text())
    assert hashlib.sha256(Path(result["uri"]).read_bytes()).hexdigest() == result["sha256"]
    content = Path(result["uri"]).with_suffix(".parquet")
    forecasts = pl.read_parquet(content)
    assert forecasts["date"].min() == LAST_DAY + timedelta(days=1) and told["rows"] == forecasts.height == 2 * 28
    entry = ReleaseStore(shop.settings.releases(), "sales").release()
    assert (told["release"], told["manifest_sha256"]) == (1, entry.manifest_sha256)
    assert told["sha256"] == hashlib.sha256(content.read_bytes()).hexdigest()
    assert list(told["tables"]) == ["series"]

    code, said, result = run("score", "sales", "--keep", "--as-of", DAY)
    assert (code, result["status"]) == (0, "finished-before") and "kept before, the same bytes" in said
    assert len(shop.kept()) == 2
    # The data of that day are corrected later: what was said then stays.
    before = content.read_bytes()
    shop.table(factor=2)
    assert run("score", "sales", "--keep", "--as-of", DAY)[0] == 0
    assert shop.kept() == [f"sales/{DAY}/1{name}" for name in ("-2.json", "-2.parquet", ".json", ".parquet")]
    assert content.read_bytes() == before
    corrected = json.loads((content.parent / "1-2.json").read_text())
    assert corrected["tables"] != told["tables"] and corrected["sha256"] != told["sha256"]


def test_nothing_is_kept_of_data_that_have_not_come(shop: Shop, run: Any) -> None:
    shop.table(LAST_DAY - timedelta(days=1))
    code, said, _ = run("score", "sales", "--keep", "--as-of", DAY)
    assert code == 4 and "error: the data up to 2026-06-30 have not come: date: days without data" in said
    (shop.root / "sales.parquet").unlink()
    assert run("score", "sales", "--keep", "--as-of", DAY)[0] == 4
    assert shop.kept() == []
    code, said, _ = run("watch", "sales", "--as-of", DAY)
    assert code == 4 and "error: the data up to 2026-06-30 have not come" in said
    # A file is for whoever asked for it, whatever they mean to do with it.
    assert run("score", "sales", "--out", str(shop.root / "out.parquet"), "--as-of", DAY)[0] == 65


def test_without_a_release_there_is_nothing_to_keep_and_nothing_wrong(
    shop: Shop, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSTILL_RELEASE_STORE", str(shop.root / "none"))
    code, said, _ = run("score", "sales", "--keep", "--as-of", DAY)
    assert code == 4 and "error: sales: no release yet" in said
    assert run("score", "sales", "--out", str(shop.root / "out.parquet"), "--as-of", DAY)[0] == 64


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say either --out FILE or --keep"),
        (("--keep", "--out", "f.parquet"), "say either --out FILE or --keep"),
        (("--keep", "--table", "mine.csv"), "--keep takes no --table"),
        (("--keep", "--run-id", "r", "--as-of", DAY), "--run-id goes with neither --as-of nor --table"),
        (("--out", "f.parquet", "--run-id", "r", "--table", "mine.csv"), "--run-id goes with neither"),
        (("--keep", "--run-id", "never"), "no run 'never' of sales"),
    ],
)
def test_what_does_not_go_together_is_refused(shop: Shop, run: Any, arguments: tuple[str, ...], said: str) -> None:
    code, told, _ = run("score", "sales", *arguments)
    assert code == 64 and said in told
    assert shop.kept() == []


def test_a_table_is_read_by_the_names_of_the_source_and_by_its_own_name(shop: Shop, run: Any) -> None:
    def scored(file: str) -> pl.DataFrame:
        code, said, _ = run("score", "sales", "--table", str(shop.root / file), "--out", out, "--as-of", DAY)
        assert code == 0, said
        return pl.read_parquet(out)

    out, table = str(shop.root / "out.parquet"), shop.table()
    for name, factor in (("t[1].parquet", 1), ("t1.parquet", 2)):
        table.with_columns(pl.col("units") * factor).write_parquet(shop.root / name)
    wanted = scored("sales.parquet")
    assert scored("t[1].parquet").equals(wanted)
    assert not scored("t1.parquet").equals(wanted)

    params = yaml.safe_load((shop.root / "params.yaml").read_text())
    params["workloads"]["sales"]["source"]["columns"] = {"units": "qty"}
    (shop.root / "params.yaml").write_text(yaml.safe_dump(params))
    table.rename({"units": "qty"}).write_parquet(shop.root / "mapped.parquet")
    assert scored("mapped.parquet").equals(wanted)
    arguments = ("--table", str(shop.root / "t1.parquet"), "--out", out, "--as-of", DAY)
    code, said, _ = run("score", "sales", *arguments)
    assert code == 65 and "source.columns.units: the table has no column 'qty'" in said


def test_a_night_whose_data_were_not_found_valid_leaves_no_forecasts(shop: Shop, run: Any) -> None:
    RunStore(shop.settings.runs()).open_run("sales", "bad", "", {"run_id": "bad", "as_of": DAY})
    code, said, _ = run("score", "sales", "--keep", "--run-id", "bad")
    assert code == 4 and "run bad of sales: its data were not found valid" in said
    assert shop.kept() == []


def test_whether_the_data_have_come_is_an_exit_code(shop: Shop, run: Any) -> None:
    assert run("fresh", "sales", "--as-of", DAY)[:2] == (0, f"sales: the data reach up to {DAY}\n")
    shop.table(LAST_DAY - timedelta(days=2))
    code, said, _ = run("fresh", "sales", "--as-of", DAY)
    (line,) = said.splitlines()
    rule = f"days without data before as_of {DAY}: 2 (expected <= 0), the last is of 2026-06-28"
    assert (code, line) == (4, f"error: date: {rule}")
    (shop.root / "sales.parquet").unlink()
    assert run("fresh", "sales", "--as-of", DAY)[:2] == (4, "error: sales.parquet: no such file\n")
    # A file that is broken will not mend by waiting: the snapshot is taken, and validation says what is wrong.
    (shop.root / "sales.parquet").write_bytes(b"PAR1 and nothing else")
    assert run("fresh", "sales", "--as-of", DAY)[0] == 0
