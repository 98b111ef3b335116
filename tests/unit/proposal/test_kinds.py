"""Images, texts and events of users that nobody has described: each becomes a section that fits."""

import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.compression.export import export_onnx
from tasks.compression.timing import Beside
from tasks.config.workload import Workload
from tasks.core.errors import DataError, UsageError
from tasks.planning.soundness import require_sound
from tasks.problems import get_problem
from tasks.problems.blocks.weights import count_parameters
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import make_contract
from tasks.problems.ranking.options import parse_options
from tasks.proposal.blocks.look import Look
from tasks.proposal.blocks.proposal import Proposal
from tasks.proposal.forecasting.seen import Asked
from tasks.proposal.propose import guess, propose
from tasks.tables.sources import get_source
from tasks.tables.validation.guard import Guard
from tasks.tables.validation.options import CheckOptions
from tasks.tables.validation.rules import Fact, table_facts, usable
from tests import newcomers
from tests.unit.problems.vision.shapes import png

AS_OF = date(2026, 6, 30)
FIRST = datetime.fromisoformat("2026-04-01T09:00")


def proposed(path: Path, kind: Any = None, **asked: Any) -> Proposal:
    """The proposal, which is sound, and whose data pass the checks of a first night."""
    root = path.parent
    found = propose("mine", path, root, kind, Asked(**asked))
    assert len({*found.reasons}) == len(found.reasons), "a line is said twice"
    section = Workload.model_validate(found.section)
    require_sound("mine", section, root)
    contracts = get_problem(section.problem).tables()
    source = get_source(section.source, contracts, "mine", root)
    snapshot, as_of = source.fetch(found.as_of or AS_OF), found.as_of or AS_OF
    assert not snapshot.unreadable, snapshot.unreadable
    for contract in contracts:
        Guard(contract, CheckOptions()).require(snapshot.tables[contract.name])
    tables = {name: table.lazy() for name, table in snapshot.tables.items()}
    problem = get_problem(section.problem)
    assert not [each for each in problem.findings(tables, as_of) if each.value > each.high]
    return found


def pictures(folder: Path, sizes: tuple[tuple[int, int], ...] = ((20, 24),), count: int = 40) -> Path:
    """Noise, brighter or darker by class, in colour, in as many sizes as are given."""
    rng = np.random.default_rng(2)
    for number in range(count):
        label = ("dark", "bright")[number % 2]
        shape = (*sizes[number % len(sizes)], 3)
        content = rng.normal((60, 180)[number % 2], 20, shape).clip(0, 255).astype(np.uint8)
        path = folder / label / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(content, "JPEG"))
    return folder


def test_folders_of_images_are_classes(tmp_path: Path) -> None:
    found = proposed(pictures(tmp_path / "photos"))
    problem = found.section["problem"]
    assert found.section["source"] == {"kind": "folder", "path": "photos"} and found.as_of is None
    assert problem["classes"] == ["bright", "dark"] and problem["id"] == "file"
    assert (problem["height"], problem["width"], problem["channels"], problem["fit"]) == (20, 24, 3, "exact")
    assert "classes: the folders: bright 20, dark 20" in found.reasons


@pytest.mark.parametrize("size", [(8, 8), (48, 48)])
def test_the_limit_of_latency_refuses_what_is_many_times_slower_than_the_proposed_student(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    section = Workload.model_validate(proposed(pictures(tmp_path / "photos", (size,))).section)
    contract = get_problem(section.problem).draft_contract()
    model = build_model(section.students["student"].model, contract)
    inputs = {name: np.full((2, *shape), 90, dtype) for name, (dtype, shape) in contract.inputs.items()}
    (measured,) = Beside([export_onnx(model, contract, inputs)], inputs, 1, 1).measure(10)
    assert 1.5 * measured.ratio_p50 < section.gates.latency.max_p50_ratio < 15 * measured.ratio_p50


def test_images_of_many_sizes_are_cropped_and_those_that_cannot_be_read_have_room(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", ((30, 40), (200, 90), (64, 64)))
    (folder / "dark" / "cut.jpg").write_bytes((folder / "dark" / "000.jpg").read_bytes()[:200])
    found = proposed(folder)
    problem = found.section["problem"]
    assert (problem["height"], problem["width"], problem["fit"]) == (64, 64, "crop")
    assert problem["max_unreadable"] == pytest.approx(1.5 / 41, rel=0.05)
    (beware,) = [line for line in found.reasons if line.startswith("beware")]
    assert "file dark/cut.jpg" in beware and "max_unreadable" in beware


def test_grey_images_are_read_as_grey(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "scans" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(np.full((9, 9), 20 * number, np.uint8)))
    assert propose("mine", tmp_path / "scans", tmp_path).section["problem"]["channels"] == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: pictures(root / "all" / "train").parent, "its folders are train; name one of them"),
        (lambda root: pictures(root / "photos") / "dark", "each class needs a folder, .*; there is no folder"),
        (lambda root: root, "no file that ends in .jpg, .jpeg, .png"),
    ],
)
def test_a_folder_without_classes_says_what_is_missing(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(DataError, match=said):
        propose("mine", make(tmp_path), tmp_path)


def test_a_table_that_names_images_finds_their_folder_and_keeps_the_paths_as_ids(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    labels = [name.partition("/")[0] for name in files]
    pl.DataFrame({"filename": files, "split": ["x"] * len(files), "what": labels}).write_csv(tmp_path / "labels.csv")
    found = proposed(tmp_path / "labels.csv")
    assert found.section["source"] == {
        "kind": "table", "path": "labels.csv", "files": "photos/", "columns": {"image": "filename"},
    }  # fmt: skip
    assert (found.section["problem"]["label"], found.section["problem"]["id"]) == ("what", "filename")
    pl.DataFrame({"filename": ["lost.jpg", "gone.jpg"], "what": ["a", "b"]}).write_csv(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"'lost\.jpg'.* lies neither beside the table nor in a folder there"):
        propose("mine", tmp_path / "labels.csv", tmp_path, "vision", Asked(target="what"))


WORDS = ("parcel", "money", "late", "broken", "thanks", "today", "invoice", "refund", "please", "where")


def texts(count: int = 120, labels: tuple[str, ...] = ("order", "refund")) -> pl.DataFrame:
    """Rows with an id, eight words, and one of the labels in turn."""
    rng = random.Random(4)
    said = [" ".join(rng.choice(WORDS) for _ in range(8)) + f" {number}" for number in range(count)]
    names = [labels[number % len(labels)] for number in range(count)]
    return pl.DataFrame({"ticket_id": [f"t{at}" for at in range(count)], "body": said, "Topic": names})


def test_a_target_that_is_no_column_of_labels_is_refused_alike(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in folder.rglob("*.jpg"))
    table = texts(len(files)).with_columns(file=pl.Series(files))
    for beside, others in (("body", "ticket_id, Topic"), ("file", "ticket_id, body, Topic")):
        table.drop([] if beside == "file" else ["file"]).write_csv(tmp_path / "t.csv")
        for asked in ("topics", beside):
            with pytest.raises(UsageError, match=f"--target {asked}: the table has no such column; it has: {others}$"):
                propose("mine", tmp_path / "t.csv", tmp_path, asked=Asked(target=asked))


def test_texts_with_labels_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    table = texts().with_columns(body=pl.lit('He said "no",\n') + pl.col("body"))
    path.write_bytes("\ufeff".encode() + table.write_csv().encode())
    found = proposed(path)
    problem = found.section["problem"]
    assert (problem["text"], problem["target"], problem["id"]) == ("body", "Topic", ["ticket_id"])
    assert problem["classes"] == ["order", "refund"] and "time" not in problem
    assert "kind: text, by texts with labels (change: --kind)" in found.reasons


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_labels_as_numbers_are_texts_as_the_source_hands_them_on(tmp_path: Path, ending: str) -> None:
    table = texts().with_columns(Topic=pl.Series([float(at % 2) for at in range(120)]), score=pl.lit(0.5))
    if ending == "csv":
        table.write_csv(tmp_path / "t.csv")
    else:
        table.write_parquet(tmp_path / "t.parquet")
    found = proposed(tmp_path / f"t.{ending}", target="Topic", kind="text")
    assert found.section["problem"]["classes"] == (["0.0", "1.0"] if ending == "csv" else ["0", "1"])


def test_days_and_segments_of_texts_and_a_form_of_csv_are_seen(tmp_path: Path) -> None:
    days = [AS_OF - timedelta(days=at % 40) for at in range(120)]
    table = texts().with_columns(pl.Series("day", days), language=pl.Series(["de", "en", "en"] * 40))
    (tmp_path / "t.csv").write_bytes(table.write_csv(separator=";").replace("parcel", "Päckchen").encode("cp1252"))
    found = proposed(tmp_path / "t.csv")
    source, problem = found.section["source"], found.section["problem"]
    assert (source["separator"], source["encoding"]) == (";", "cp1252")
    assert problem["time"] == "day" and found.as_of == AS_OF
    assert problem["segments"] == ["language"] and found.section["gates"]["segments"]["by"] == ["label", "language"]


def test_rare_and_alike_labels_texts_twice_and_missing_ones_are_warned_of(tmp_path: Path) -> None:
    again = [texts(count).with_columns(Topic=pl.lit(topic)) for topic, count in (("refund ", 8), ("odd", 3))]
    table = pl.concat([texts(), *again, texts(1).with_columns(body=pl.lit(None, pl.String))])
    table.drop("ticket_id").write_parquet(tmp_path / "t.parquet")
    found = proposed(tmp_path / "t.parquet")
    problem = found.section["problem"]
    assert problem["least_rows"] == 3 and problem["max_conflicts"] > 0.02
    assert found.section["source"]["shape"] == {"filled": ["body"]}
    told = "\n".join(found.reasons)
    for said in (
        "odd 3, refund  8: least_rows: 3",
        "'refund' and 'refund '",
        "no column identifies",
        "max_conflicts",
        "have no body",
    ):
        assert said in told, said


def purchases(days: int = 90, users: int = 100) -> pl.DataFrame:
    """Each user has an item every third day, at a moment of it."""
    rng = random.Random(5)
    rows = [
        (f"C-{user:03d}", f"SKU {rng.randrange(40)}", FIRST + timedelta(days=day, minutes=user), 9.5)
        for user in range(users)
        for day in range(user % 3, days, 3)
    ]
    return pl.DataFrame(rows, ["Customer ID", "StockCode", "InvoiceDate", "Price"], orient="row")


def test_purchases_of_customers_become_what_comes_next(tmp_path: Path) -> None:
    table = purchases()
    lost = table[:5].with_columns(pl.lit(None, pl.String).alias("Customer ID"))
    pl.concat([table, table[:7], lost]).write_csv(tmp_path / "shop.csv")
    found = proposed(tmp_path / "shop.csv")
    source, problem = found.section["source"], found.section["problem"]
    assert source["columns"] == {"user": "Customer ID", "item": "StockCode", "order": "InvoiceDate"}
    assert source["shape"] == {"seconds": "InvoiceDate", "distinct": True, "filled": ["Customer ID"]}
    assert problem["repeats"] and (problem["split"], problem["order"]) == ("time", "order")
    assert found.as_of == date(2026, 6, 29)
    assert any(line.startswith("left out: 5 rows without Customer ID") for line in found.reasons)


@pytest.mark.parametrize(("items", "wider"), [(40, False), (1500, True)])
def test_a_large_catalogue_has_wider_vectors_that_the_limit_of_bytes_has_room_for(
    tmp_path: Path, items: int, wider: bool
) -> None:
    rng = random.Random(9)
    table = purchases().with_columns(StockCode=pl.Series([f"SKU {rng.randrange(items)}" for _ in range(3000)]))
    table.write_csv(tmp_path / "shop.csv")
    section = Workload.model_validate(proposed(tmp_path / "shop.csv").section)
    student = section.students["student"].model
    contract = make_contract(parse_options(section.problem.options), table["StockCode"].unique().sort().to_list())
    weights = count_parameters(build_model(student, contract))  # a byte each in eight bits
    assert weights < section.gates.size.max_bytes
    assert (weights / items > 100) == wider


def test_users_who_stay_away_and_weeks_without_events_have_room_in_the_checks(tmp_path: Path) -> None:
    """Half of the customers stop, and nobody bought anything for ten days."""
    table = purchases().filter(
        ((pl.col("Customer ID") < "C-040") | (pl.col("InvoiceDate") < FIRST + timedelta(days=55))),
        ~pl.col("InvoiceDate").is_between(FIRST + timedelta(days=20), FIRST + timedelta(days=30)),
    )
    table.write_csv(tmp_path / "shop.csv")
    found = proposed(tmp_path / "shop.csv")
    section = Workload.model_validate(found.section)
    (contract,) = get_problem(section.problem).tables()
    table = get_source(section.source, (contract,), "mine", tmp_path).fetch(AS_OF).tables[contract.name]
    assert found.as_of is not None
    checks = CheckOptions(**found.section["checks"])
    for checked, failed in ((checks, 0), (CheckOptions(max_volume_ratio=50), 2)):
        facts = table_facts(table, usable(table, contract), contract, checked, found.as_of, {}, None)
        assert sum(outside(fact) for fact in facts) == failed


def outside(fact: Fact) -> bool:
    """Whether a fact is not within its limits."""
    assert isinstance(fact.value, float | int)
    return not (-inf if fact.low is None else fact.low) <= fact.value <= (inf if fact.high is None else fact.high)


@pytest.mark.parametrize("as_seconds", [True, False])
def test_ratings_by_seconds_or_by_day(tmp_path: Path, as_seconds: bool) -> None:
    table = purchases(21).unique(["Customer ID", "StockCode"], maintain_order=True)
    when = pl.col("InvoiceDate").dt.epoch("s") if as_seconds else pl.col("InvoiceDate").dt.date()
    table = table.select(userId="Customer ID", movieId="StockCode", rating="Price", timestamp=when)
    table.write_csv(tmp_path / "r.csv")
    found = proposed(tmp_path / "r.csv")
    problem = found.section["problem"]
    assert (problem["split"], "repeats" in problem, "order" in problem) == ("leave-one-out", False, as_seconds)
    assert found.as_of == date(2026, 4, 21)


def test_events_without_a_time_say_so(tmp_path: Path) -> None:
    purchases().drop("InvoiceDate").write_csv(tmp_path / "r.csv")
    with pytest.raises(DataError, match="no column is a day, a moment in ISO form or the seconds since 1970"):
        propose("mine", tmp_path / "r.csv", tmp_path)


def test_a_series_with_notes_and_a_label_like_column_stays_a_forecast(tmp_path: Path) -> None:
    days = pl.date_range(date(2025, 1, 1), date(2025, 12, 31), "1d", eager=True)
    note = [f"the {day:%A} was busy in the {day:%B} of number {day.day}" for day in days]
    table = pl.DataFrame(
        {
            "day": days,
            "units": [float(at % 7) for at in range(len(days))],
            "note": note,
            "kind": ["a", "b", "c", "d", "e"] * 73,
        }
    )
    table.write_csv(tmp_path / "shop.csv")
    assert propose("mine", tmp_path / "shop.csv", tmp_path).section["problem"]["kind"] == "forecasting"
    assert (
        propose("mine", tmp_path / "shop.csv", tmp_path, asked=Asked(target="kind")).section["problem"]["kind"]
        == "text"
    )


def test_rows_with_an_outcome_become_a_chance_of_it(tmp_path: Path) -> None:
    found = proposed(newcomers.customers(tmp_path / "customers.csv"))
    problem = found.section["problem"]
    assert (problem["target"], problem["task"], problem["positive"]) == ("churned", "yes-no", "Yes")
    assert (problem["id"], problem["numbers"]) == (["CustomerId"], ["Months", "Balance", "Complaints"])
    assert (problem["categories"], problem["booleans"]) == (["Plan"], ["Card"])
    assert found.as_of is None and "time" not in problem
    assert found.section["gates"]["segments"]["by"] == ["Plan", "Card"]
    told = "\n".join(found.reasons)
    for said in (
        "kind: tabular, by a label of each row (change: --kind)",
        "10 rows have no churned",
        "Surname (911 different texts)",
        "Bank (has one value)",
    ):
        assert said in told, said


def flats(count: int = 200) -> pl.DataFrame:
    """Flats with what they cost, of owners who have several, and days of two meanings."""
    rng = np.random.default_rng(8)
    area = rng.uniform(30, 120, count)
    return pl.DataFrame(
        {
            "flat": [f"F{at}" for at in range(count)],
            "customer_id": [at % 60 for at in range(count)],
            "area": area,
            "built": [date(1960, 1, 1) + timedelta(days=int(day)) for day in rng.integers(0, 20000, count)],
            "date": [AS_OF - timedelta(days=at % 50) for at in range(count)],
            "_floor": rng.integers(0, 5, count),
            "predicted": rng.normal(size=count),
            "heating": ["gas", "oil", "heat pump", None] * (count // 4),
            "price": 1000 * area,
        }
    )


def test_a_value_with_a_day_is_tested_on_the_latest_rows_and_owners_stay_together(tmp_path: Path) -> None:
    flats().write_parquet(tmp_path / "flats.parquet")
    found = proposed(tmp_path / "flats.parquet", "tabular")
    problem = found.section["problem"]
    assert (problem["target"], problem["task"], problem["low"], problem["time"]) == ("price", "value", 0, "date")
    assert (problem["id"], problem["group"], problem["dates"]) == (["flat"], "customer_id", ["built"])
    assert problem["numbers"] == ["area", "floor", "predicted_column"] and problem["categories"] == ["heating"]
    assert found.section["source"]["columns"] == {"floor": "_floor", "predicted_column": "predicted"}
    assert found.as_of == AS_OF and found.section["gates"]["accuracy"]["limit"] > 1000


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1], {"task": "yes-no", "positive": "1"}),
        ([True, False], {"task": "yes-no"}),
        (["ok", "ok", "ok", "fired"], {"task": "yes-no", "positive": "fired"}),
        (["low", "mid", "high"], {"task": "classes", "classes": ["high", "low", "mid"]}),
        ([3, 4, 5], {"task": "classes", "classes": ["3", "4", "5"]}),
        ([-1.5, 2.5, 3.25], {"task": "value"}),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_values_of_a_target_say_what_its_task_is(tmp_path: Path, ending: str, values: Any, task: Any) -> None:
    label = pl.Series((values * 200)[:200])
    table = flats().drop("price", "date").with_columns(label=label, count="heating")
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)
    found = proposed(path, "tabular", target="label")
    problem = found.section["problem"]
    assert {key: problem.get(key) for key in ("task", "positive", "classes", "low") if key in problem} == task
    assert ("calibrate" in problem) == (task["task"] != "value")


def test_names_and_lists_beside_an_outcome_are_left_out(tmp_path: Path) -> None:
    """Else passengers with their full names would be texts."""
    rng = np.random.default_rng(3)
    rows = pl.DataFrame(
        {
            "Name": [f"Braund, Mr. Owen {at}" for at in range(300)],
            "Age": rng.normal(30, 9, 300),
            "Fare": rng.gamma(2, 9, 300),
            "Cabins": [[at] for at in range(300)],
            "Survived": rng.integers(0, 2, 300),
        }
    )
    rows.write_parquet(tmp_path / "p.parquet")
    found = proposed(tmp_path / "p.parquet")
    assert (found.section["problem"]["target"], found.section["problem"]["numbers"]) == ("Survived", ["Age", "Fare"])
    assert "left out: Name (texts; see --kind text), Cabins (List(Int64): neither number nor text)" in found.reasons


def test_what_alone_tells_a_label_is_warned_of(tmp_path: Path) -> None:
    path = newcomers.customers(tmp_path / "customers.csv")
    table = pl.read_csv(path).with_columns(Reason=pl.when(pl.col("churned") == "Yes").then(pl.lit("gone")))
    table.with_columns(pl.col("Reason").fill_null("stays")).write_csv(path)
    beware = [line for line in proposed(path).reasons if line.startswith("beware")]
    assert beware == ["beware: Reason alone tells churned; if it is known only afterwards, take it out of problem"]


@pytest.mark.parametrize(
    ("change", "asked", "error", "said"),
    [
        (
            lambda table: table.drop("price"),
            {},
            UsageError,
            "called like a label; say which one is: --target",
        ),
        (lambda table: table, {"target": "rent"}, UsageError, "--target rent: the table has no such column"),
        (lambda table: table, {"target": "flat"}, DataError, "flat has 200 different texts in 200 rows, too many"),
        (lambda table: table.with_columns(price=1.0), {"target": "price"}, DataError, "price has fewer than two"),
        (lambda table: table, {"time": "area"}, DataError, "area is not a whole day in each row"),
        (lambda table: table, {"time": "when"}, UsageError, "--time when: the table has no such column"),
        (lambda table: table.select("flat", "price"), {}, DataError, "nothing to predict price from: there is no"),
    ],
)
def test_rows_without_a_label_or_a_day_say_what_is_missing(
    tmp_path: Path, change: Any, asked: Any, error: type[Exception], said: str
) -> None:
    change(flats()).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(error, match=said):
        propose("mine", tmp_path / "t.parquet", tmp_path, "tabular", Asked(**asked))


@pytest.mark.parametrize(
    ("columns", "target", "kind"),
    [
        (["day", "units"], "", "forecasting"),
        (["day", "units", "status"], "", "forecasting"),
        (["day", "visits", "churned"], "", "tabular"),
        (["day", "visits", "is_returned"], "", "tabular"),
        (["day", "units", "status"], "status", "tabular"),
        (["visits", "price"], "", "tabular"),
        (["visits", "units"], "", "tabular"),
    ],
)
def test_a_time_makes_a_forecast_unless_the_target_is_an_outcome(columns: list[str], target: str, kind: str) -> None:
    every = pl.DataFrame(
        {
            "day": pl.date_range(date(2025, 1, 1), date(2025, 4, 30), "1d", eager=True),
            "units": [float(at) for at in range(120)],
            "visits": [at % 9 for at in range(120)],
            "status": ["new", "sold", "back"] * 40,
            "churned": [0, 1, 0] * 40,
            "is_returned": [True, False, False] * 40,
            "price": [at * 0.5 for at in range(120)],
        }
    ).select(columns)
    assert guess(Look(Path("t.parquet"), every, every), Asked(target=target)) == kind


def test_a_kind_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    newcomers.monthly(tmp_path / "museum.csv")
    for kind, error, said in (
        ("vision", UsageError, "no column of .* holds images"),
        ("text", DataError, "no column has texts"),
        ("ranking", DataError, "no column is called like a user"),
    ):
        with pytest.raises(error, match=said):
            propose("mine", tmp_path / "museum.csv", tmp_path, kind)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="of folders only images are read"):
        propose("mine", pictures(tmp_path / "photos"), tmp_path, "text")
