"""A small project that whole nights can be run in: synthetic sales, small networks, its own stores."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
LAST_DAY = date(2026, 6, 30)


def sales_table(last_day: date, days: int = 220, stores: int = 4, departments: int = 3) -> Any:
    """A table under the forecasting contract: weekly rhythm, promotions that lift sales, noise; 28 days ahead."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(3)
    everyday = [LAST_DAY - timedelta(days=offset) for offset in range(400, -60, -1)]
    frames = []
    for store in range(stores):
        for department in range(departments):
            promotion = rng.random(len(everyday)) < 0.15
            weekday = np.array([day.weekday() for day in everyday])
            level = 20 * (1 + store) * (1 + 0.3 * (weekday >= 5)) * (1 + 0.8 * promotion)
            frames.append(
                pl.DataFrame(
                    {
                        "date": everyday,
                        "series_id": f"s{store}-d{department}",
                        "store_id": f"s{store}",
                        "department": f"d{department}",
                        "units": rng.poisson(level).astype(float),
                        "price": 1.0,
                        "promo_display": promotion.astype(float),
                        "promo_mailer": 0.0,
                        "holiday": False,
                    }
                )
            )
    first, ahead = last_day - timedelta(days=days - 1), last_day + timedelta(days=28)
    table = pl.concat(frames).filter(pl.col("date").is_between(first, ahead))
    return table.with_columns(units=pl.when(pl.col("date") <= last_day).then(pl.col("units"))).sort("series_id", "date")


def small_sales(section: dict[str, Any]) -> dict[str, Any]:
    """The sales section with small networks, few recipes and gates that such networks can pass."""
    training = {"epochs": 3, "batch_size": 64, "batches_per_epoch": 40, "learning_rate": 0.005, "patience": 3}
    section["teachers"] = {"lstm": {"model": {"kind": "lstm", "hidden": 16, "layers": 1}, "training": training}}
    section["students"] = {
        name: {**student, "training": {**training, "epochs": 6}} for name, student in section["students"].items()
    }
    section["recipes"] = {
        "fp32": {},
        "chain": {"steps": [{"kind": "neurons", "keep": 0.5, "epochs": 1}, {"kind": "fp16"}]},
    }
    section["source"] = {"kind": "table", "path": "sales.parquet"}
    section["gates"]["accuracy"].update(
        limit=0.6, naive_margin=0.02, retention=1.3, champion_margin=0.05, max_gain=0.9, resamples=200
    )
    section["gates"]["segments"].update(limit=0.5, min_rows=2)
    section["gates"]["latency"].update(rounds=10, max_p50_ratio=1000, max_p95_ratio=1000)
    section["gates"]["parity"].update(tolerance=0.05)
    section["gates"]["robustness"] = [{"kind": "noise", "level": 0.1, "limit": 2.0}]
    return section


def small_customers(root: Path) -> dict[str, Any]:
    """A tabular section with small networks, whose table of purchases it writes into `root`."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    rows = [
        (LAST_DAY - timedelta(days=day), f"c{who:02d}", round(float(rng.gamma(2, 1 + who / 4)), 2), 1 + who % 3)
        for who in range(40)
        for day in range(who % 5, 60 if who % 3 == 0 else 200, 4)
    ]
    table = pl.DataFrame(rows, ["day", "customer", "paid", "pieces"], orient="row").sort("day", "customer")
    table.write_parquet(root / "customers.parquet")
    section: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())["workloads"]["customers"]
    training = {"epochs": 2, "batch_size": 64, "learning_rate": 0.01}
    model = {"kind": "mlp", "hidden": [8]}
    section["source"] = {"kind": "table", "path": "customers.parquet"}
    section["problem"] = {
        "kind": "tabular", "entity": "customer", "date": "day", "target": "paid", "amounts": ["pieces"],
        "windows": [7, 28], "edges": [10, 40],
    }  # fmt: skip
    section["checks"] = {"max_volume_ratio": 10.0, "max_gap_days": 10, "min_entity_share": 0.1}
    section["teachers"] = {"mlp": {"model": model, "training": training}}
    section["students"] = {"student": {"model": model, "training": training, "alpha": 0.5}}
    section["recipes"] = {"fp32": {}}
    section["gates"]["segments"] = {"by": ["previous"], "limit": 0.5, "min_rows": 2}
    section["gates"]["latency"].update(rounds=10, max_p50_ratio=1000, max_p95_ratio=1000)
    return section


class Project:
    """A copy of the pipeline in a folder of its own, whose parameters and table a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / ".nightstill"
        shutil.copytree(PROJECT / "tasks", root / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(
            PROJECT / "serving" / "contract",
            root / "serving" / "contract",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        shutil.copy(PROJECT / "serving" / "__init__.py", root / "serving")
        shutil.copytree(PROJECT / "requirements", root / "requirements")
        shutil.copy(PROJECT / "dvc.yaml", root)
        for name in (".dvcignore", ".dvc"):
            source = PROJECT / name
            if source.is_file():
                shutil.copy(source, root)
            elif source.is_dir():
                (root / name).mkdir()
                shutil.copy(source / "config", root / name)
        section = yaml.safe_load((PROJECT / "params.yaml").read_text())["workloads"]["sales"]
        self.params: dict[str, Any] = {"workloads": {"sales": small_sales(section)}}
        self.save()
        self.table(LAST_DAY)

    @property
    def sales(self) -> dict[str, Any]:
        """The section of `sales`; call `save` after a change."""
        section: dict[str, Any] = self.params["workloads"]["sales"]
        return section

    def touch(self, file: str) -> None:
        """Add a line of comment to one of the project's files."""
        with (self.root / file).open("a") as code:
            code.write("# changed\n")

    def save(self) -> None:
        """Write params.yaml."""
        (self.root / "params.yaml").write_text(yaml.safe_dump(self.params))

    def table(self, last_day: date, spoil: Callable[[Any], Any] = lambda table: table) -> None:
        """Write the source's table up to `last_day`, as `spoil` changes it."""
        spoil(sales_table(last_day)).write_parquet(self.root / "sales.parquet")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh small project."""
    root = tmp_path / "project"
    root.mkdir()
    return Project(root)


def new_bucket() -> str:
    """Create a bucket on the server that AWS_ENDPOINT_URL names; without one skip, or fail where it must be there."""
    if not os.environ.get("AWS_ENDPOINT_URL"):
        if os.environ.get("NIGHTSTILL_REQUIRE_S3"):
            pytest.fail("AWS_ENDPOINT_URL is not set, but NIGHTSTILL_REQUIRE_S3 asks for an S3 server")
        pytest.skip("AWS_ENDPOINT_URL is not set")
    import boto3

    name = f"nightstill-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


def remove_bucket(name: str) -> None:
    """Delete a bucket with all that is in it."""
    import boto3

    client = boto3.client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for item in page.get("Contents", ()):
            client.delete_object(Bucket=name, Key=item["Key"])
    client.delete_bucket(Bucket=name)


@pytest.fixture
def bucket() -> Iterator[str]:
    """A bucket of its own, removed afterwards."""
    name = new_bucket()
    yield name
    remove_bucket(name)
