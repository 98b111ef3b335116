"""Bring-your-own files in S3, against a real server: the one that AWS_ENDPOINT_URL names."""

from datetime import date
from io import BytesIO
from typing import Any

import boto3
import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.tables.sources import get_source
from tasks.tables.table import Column, TableContract

CONTRACT = TableContract(
    columns=(Column("date", "date", key=True), Column("store_id", "string", key=True), Column("units", "number")),
    date="date",
    target="units",
    entity=("store_id",),
)


def put(client: Any, bucket: str, key: str, units: float) -> None:
    file = BytesIO()
    pl.DataFrame({"date": [date(2026, 3, 1)], "store_id": [key], "units": [units]}).write_parquet(file)
    client.put_object(Bucket=bucket, Key=key, Body=file.getvalue())


def fetch(path: str) -> Any:
    return get_source(Spec(kind="table", path=path), (CONTRACT,), "sales").fetch(date(2026, 3, 1))


def test_a_glob_reads_its_objects_alone_in_order(bucket: str) -> None:
    client, name = boto3.client("s3"), bucket
    put(client, name, "sales/b.parquet", 2.0)
    put(client, name, "sales/a.parquet", 1.0)
    put(client, name, "stock/a.parquet", 9.0)
    assert fetch(f"s3://{name}/sales/*.parquet").tables["table"]["units"].to_list() == [1.0, 2.0]
    assert fetch(f"s3://{name}/stock/a.parquet").tables["table"]["units"].to_list() == [9.0]


def test_a_question_mark_is_a_sign_of_globs_and_a_hash_is_part_of_a_key(bucket: str) -> None:
    client, name = boto3.client("s3"), bucket
    for key, units in (("sales-1.parquet", 1.0), ("sales-2.parquet", 2.0), ("sales-10.parquet", 3.0), ("day", 4.0)):
        put(client, name, key, units)
    put(client, name, "day#1.parquet", 5.0)
    assert fetch(f"s3://{name}/sales-?.parquet").tables["table"]["units"].to_list() == [1.0, 2.0]
    assert fetch(f"s3://{name}/day#1.parquet").tables["table"]["units"].to_list() == [5.0]


def test_csv_is_read_from_s3(bucket: str) -> None:
    client, name = boto3.client("s3"), bucket
    client.put_object(Bucket=name, Key="a.csv", Body=b"date,store_id,units\n2026-03-01,007,4\n")
    assert fetch(f"s3://{name}/a.csv").tables["table"].rows() == [(date(2026, 3, 1), "007", 4)]


def test_a_truncated_object_and_a_missing_one_are_told_by_name(bucket: str) -> None:
    client, name = boto3.client("s3"), bucket
    client.put_object(Bucket=name, Key="cut.parquet", Body=b"PAR1 and no more")
    assert (
        fetch(f"s3://{name}/cut.parquet").unreadable["table"].startswith(f"s3://{name}/cut.parquet: cannot be parsed")
    )
    assert fetch(f"s3://{name}/absent.parquet").unreadable["table"] == f"s3://{name}/absent.parquet: no such file"


def test_a_missing_bucket_is_a_configuration_error(bucket: str) -> None:
    with pytest.raises(ConfigError, match="the bucket does not exist"):
        fetch(f"s3://{bucket}-absent/a.parquet")
