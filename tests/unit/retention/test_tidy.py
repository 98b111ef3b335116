"""What old nights left goes, and nothing that is needed, however often it is killed."""

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tasks.core.errors import IntegrityError, NotYetError, UsageError
from tasks.core.settings import Settings
from tasks.core.storage import FolderStore
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_store import DataRemote, RunStore
from tasks.releases.pins import pin
from tasks.releases.pruning import prune
from tasks.releases.store import ReleaseStore
from tasks.retention import tidy
from tasks.retention.tidy import Tidy
from tasks.scoring.kept import Made, keep

FIRST = date(2026, 1, 1)
NOW = datetime.now(UTC).isoformat()
OLD = time.time() - 30 * 86400
RUN = "problem: {kind: forecasting, horizon: 2, context: 7, season: 1, quantiles: [0.5]}\n"


class House:
    """Ten nights, a release on the second and the fourth, and what the fifth reused on the eighth."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(home=root, project=root)
        self.store = RunStore(self.settings.runs())
        self.remote = FolderStore(Path(self.settings.dvc_remote))
        self.releases = ReleaseStore(self.settings.releases(), "sales")
        root.mkdir(exist_ok=True)
        self.watched(5)

    def watched(self, days: int) -> None:
        section = {"title": "Sales", "schedule": None, "watch": {"days": days}}
        (Path(self.settings.home) / "params.yaml").write_text(yaml.safe_dump({"workloads": {"sales": section}}))

    def data(self, digest: str, content: bytes = b"data") -> str:
        self.remote.write(f"files/md5/{digest[:2]}/{digest[2:]}", content)
        return digest

    def night(self, number: int, reused_from: str = "", workload: str = "sales") -> None:
        as_of, run_id = FIRST + timedelta(days=number), f"r{number:02d}"
        created = f"{as_of}T03:00:00+00:00"
        self.store.open_run(workload, run_id, RUN, {"run_id": run_id, "as_of": str(as_of), "created": created})
        part = self.data(f"{number:02d}{'b' * 30}")
        tree = self.data(f"{number:02d}{'a' * 30}.dir", json.dumps([{"md5": part, "relpath": "x"}]).encode())
        lock = {"cmd": "x", "outs": [{"path": "artifacts/snapshot", "md5": tree}]}
        manifest = Manifest(
            stage="snapshot",
            workload=workload,
            run_id=run_id,
            status="reused" if reused_from else "done",
            reason="",
            inputs_key=f"key{number}",
            reused_from=reused_from,
        )
        self.store.finish(manifest, lock)
        self.store.store.write(f"runs/{workload}/{run_id}/pages/report/report.html", b"page")
        self.store.store.write(f"checkpoints/{workload}/teach@a/key{number}/epoch", b"weights")
        made = Made(
            workload=workload, as_of=as_of, release=1, manifest_sha256="a" * 64, model_sha256="b" * 64, tables={}
        )
        keep(FolderStore(Path(self.settings.forecasts)), f"{number}".encode(), 1, made)

    def release(self, number: int) -> None:
        last = self.releases.champion()
        lock = {"cmd": "x", "outs": [{"path": "artifacts/snapshot", "md5": f"{number:02d}{'a' * 30}.dir"}]}
        self.releases.publish(
            {"model.onnx": f"{number}".encode(), "dvc.lock": yaml.safe_dump({"stages": {"snapshot": lock}}).encode()},
            expected=last.seq if last else 0,
            run_id=f"r{number:02d}",
            as_of=FIRST + timedelta(days=number),
            reason="better",
        )

    def age(self) -> None:
        for path in Path(self.settings.home).rglob("*"):
            if path.is_file() and "releases" not in path.parts:
                os.utime(path, (OLD, OLD))

    def runs(self, workload: str = "sales") -> list[str]:
        return [info["run_id"] for info in self.store.runs(workload)]

    def datasets(self) -> set[str]:
        return {key.split("/")[2] for key in self.remote.keys("files/md5/")}


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    for number in range(10):
        made.night(number, reused_from="r05" if number == 8 else "")
        if number in (1, 3):
            made.release(number)
    made.night(0, workload="customers")
    made.age()
    return made


KEPT = ["r01", "r03", "r05", "r07", "r08", "r09"]  # releases, what a kept run reused, the newest three


def test_a_dry_run_removes_nothing_and_says_what_would_go(house: House) -> None:
    before = sorted(str(path) for path in Path(house.settings.home).rglob("*"))
    found = Tidy(house.settings, keep=3).what_goes()
    assert sorted(str(path) for path in Path(house.settings.home).rglob("*")) == before
    assert (found.removed_runs, found.kept_runs) == (4, 7)
    assert "runs/sales/r00/run.json" in found.runs and not [key for key in found.runs if "/r05/" in key]


def test_what_a_release_its_reproduction_and_a_kept_run_need_stays(house: House) -> None:
    pin(house.releases, "a promise to the shops")
    Tidy(house.settings, keep=3).remove()
    assert house.runs() == KEPT
    assert house.runs("customers") == ["r00"]
    # r00 of customers has the data that r00 of sales had.
    assert house.datasets() == {name[1:] for name in ("r00", *KEPT)}
    assert DataRemote(house.remote).missing({"outs": [{"path": "x", "md5": f"01{'a' * 30}.dir"}]}) == []
    index = list(house.store.store.keys("index/sales/"))
    assert [key for key in index if "key0.json" in key] == [] and [key for key in index if "key5.json" in key]
    assert list(house.store.store.keys("checkpoints/")) == []
    days = {path.name for path in Path(house.settings.forecasts, "sales").iterdir() if any(path.iterdir())}
    assert days == {str(FIRST + timedelta(days=number)) for number in range(1, 10)}
    again = Tidy(house.settings, keep=3).what_goes()
    assert not [key for keys in again.parts().values() for key in keys]


def test_the_runs_of_a_pruned_release_go(house: House) -> None:
    house.release(9)
    prune(house.releases, keep=1)
    Tidy(house.settings, keep=3).remove()
    assert [entry.pruned for entry in house.releases.ledger.entries()][-1] == (1,)
    assert house.runs() == KEPT[1:]
    assert "01" not in house.datasets()


class Killed(Exception):
    """The process is gone."""


@pytest.mark.parametrize("deletions", [0, 5, 14, 27])
def test_killed_at_any_moment_it_is_brought_to_its_end_by_the_next_one(
    deletions: int, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(range(deletions))
    delete = FolderStore.delete

    def dying(store: FolderStore, key: str) -> None:
        if next(left, None) is None:
            raise Killed
        delete(store, key)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "delete", dying)
        with pytest.raises(Killed):
            Tidy(house.settings, keep=3).remove()
    # Nothing points to what is gone, and all that is needed is there.
    for key in house.store.store.keys("index/sales/snapshot/key"):
        former = house.store.former("sales", "snapshot", key.rpartition("/")[2].removesuffix(".json"))
        assert former and DataRemote(house.remote).missing(house.store.lock(former)) == []
    Tidy(house.settings, keep=3).remove()
    assert house.runs() == KEPT
    assert house.datasets() == {name[1:] for name in ("r00", *KEPT)}


def test_what_a_night_under_way_wrote_stays(house: House) -> None:
    house.data("ff" + "c" * 30)  # pushed; its lock is not written yet
    house.store.store.write("checkpoints/sales/teach@a/key0/epoch", b"weights of tonight")
    Tidy(house.settings, keep=3).remove()
    assert "ff" in house.datasets()
    assert list(house.store.store.keys("checkpoints/")) == ["checkpoints/sales/teach@a/key0/epoch"]


def test_with_the_stores_of_another_installation_nothing_is_removed(house: House, tmp_path: Path) -> None:
    before = house.datasets()
    elsewhere = house.settings.model_dump() | {"run_store": str(tmp_path / "elsewhere")}
    with pytest.raises(UsageError, match="is NIGHTSTILL_RUN_STORE the one of these data"):
        Tidy(Settings(**elsewhere), keep=3).remove()
    told = {"stage": "promote", "workload": "sales", "run_id": "r01", "status": "done", "reason": ""}
    house.store.finish(Manifest(**told, summary={"outcome": "promoted"}), None)
    elsewhere = house.settings.model_dump() | {"release_store": str(tmp_path / "elsewhere")}
    with pytest.raises(IntegrityError, match=r"run r01 promoted a release, but .* has no ledger entry of it"):
        Tidy(Settings(**elsewhere), keep=3).remove()
    assert house.datasets() == before


def days_of_forecasts(keys: Sequence[str]) -> set[int]:
    return {(date.fromisoformat(key.split("/")[1]) - FIRST).days for key in keys}


def test_forecasts_that_the_watch_may_ask_for_and_those_of_today_stay(house: House) -> None:
    house.release(9)
    prune(house.releases, keep=1)
    # The oldest night that stays is 3; the window of five days up to night 9 has truth of forecasts two days before it.
    assert days_of_forecasts(Tidy(house.settings, keep=3).what_goes().forecasts) == {0, 1}
    house.watched(7)
    assert days_of_forecasts(Tidy(house.settings, keep=3).what_goes().forecasts) == set()
    house.watched(5)
    place = Path(house.settings.forecasts) / "sales" / str(FIRST)
    for path in place.iterdir():  # of an old day, made today
        path.touch()
    assert days_of_forecasts(Tidy(house.settings, keep=3).what_goes().forecasts) == {1}


def test_forecasts_without_their_manifest_are_found_again(house: House) -> None:
    Tidy(house.settings, keep=3).remove()
    left = house.settings.forecasts + f"/sales/{FIRST}/1.parquet"
    Path(left).parent.mkdir(exist_ok=True)
    Path(left).write_bytes(b"what a killed tidying left")
    os.utime(left, (OLD, OLD))
    assert Tidy(house.settings, keep=3).remove().forecasts == [f"sales/{FIRST}/1.parquet"]
    assert not Path(left).exists()


def test_a_promotion_that_the_ledger_does_not_know_is_no_reason_to_remove_its_run(house: House) -> None:
    told = {"stage": "promote", "workload": "sales", "run_id": "r02", "status": "done", "reason": ""}
    house.store.finish(Manifest(**told, summary={"outcome": "promoted"}), None)
    house.age()
    with pytest.raises(IntegrityError, match=r"run r02 promoted a release, but .* has no ledger entry of it"):
        Tidy(house.settings, keep=3).remove()


def test_data_of_another_run_store_stay(house: House, tmp_path: Path) -> None:
    Tidy(house.settings, keep=5).remove()
    before = house.datasets()
    other = House(tmp_path / "other")
    other.night(0)
    mine = Settings(**other.settings.model_dump() | {"dvc_remote": house.settings.dvc_remote})
    with pytest.raises(UsageError, match=r"these data belong to the run store .*, not to .*other"):
        Tidy(mine, keep=3).remove()
    assert house.datasets() == before


def test_no_data_go_while_a_night_is_under_way(house: House) -> None:
    before = house.datasets()
    house.store.open_run("customers", "tonight", RUN, {"run_id": "tonight", "as_of": "2026-02-01", "created": NOW})
    with pytest.raises(NotYetError, match="customers/tonight: is under way"):
        Tidy(house.settings, keep=3).remove()
    assert (house.datasets(), house.runs()) == (before, KEPT)
    house.store.finish(
        Manifest(stage="report", workload="customers", run_id="tonight", status="done", reason=""), lock=None
    )
    Tidy(house.settings, keep=3).remove()
    assert house.datasets() == {name[1:] for name in ("r00", *KEPT)}


def test_data_that_a_night_began_to_use_between_two_batches_stay(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "BATCH", 1)
    delete = FolderStore.delete
    wanted = {"outs": [{"path": "x", "md5": f"06{'b' * 30}"}]}

    def beside(store: FolderStore, key: str) -> None:
        if key.startswith("files/md5/02"):  # the first to go; now a night ends that reuses the last
            house.store.store.write("runs/customers/r00/features.lock", yaml.safe_dump(wanted).encode())
        delete(store, key)

    monkeypatch.setattr(FolderStore, "delete", beside)
    Tidy(house.settings, keep=3).remove()
    assert DataRemote(house.remote).missing(wanted) == []
    assert "04" not in house.datasets()


def test_a_run_stays_that_was_gone_on_with_or_vanishes_while_it_is_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(house.settings.home) / "store" / "runs" / "sales" / "r02" / "snapshot.json").touch()
    read = FolderStore.read

    def gone(store: FolderStore, key: str) -> bytes:
        if key.endswith(("sales/r04/run.json", "key4.json")):
            raise KeyError(key)
        return read(store, key)

    monkeypatch.setattr(FolderStore, "read", gone)
    found = Tidy(house.settings, keep=3).what_goes()
    assert {key.split("/")[2] for key in found.runs} == {"r00", "r06"}
