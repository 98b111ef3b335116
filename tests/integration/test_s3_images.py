"""Images below a prefix of S3 beside their table, against a real server: the one that AWS_ENDPOINT_URL names."""

import boto3
import polars as pl

from tasks.core.config import Spec
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tests.unit.problems.vision import shapes

LABELS = shapes.labels(6)


def test_images_are_read_below_a_prefix_and_nowhere_else(bucket: str) -> None:
    client = boto3.client("s3")
    paths = [f"{name}.png" for name in LABELS["id"]]
    for path, content in list(zip(paths, LABELS["image"], strict=True))[:5]:
        client.put_object(Bucket=bucket, Key=f"pictures/{path}", Body=content)
    client.put_object(Bucket=bucket, Key="secret.png", Body=b"secret")

    def fetch(paths: list[str]) -> Snapshot:
        table = LABELS.with_columns(pl.Series("image", paths)).write_csv()
        client.put_object(Bucket=bucket, Key="labels.csv", Body=table.encode())
        section = Spec(kind="table", path=f"s3://{bucket}/labels.csv", files=f"s3://{bucket}/pictures")
        return get_source(section, shapes.problem().tables(), "shapes").fetch(shapes.AS_OF)

    found = fetch(paths)
    assert found.tables["labels"]["image"].to_list() == [*LABELS["image"][:5], b""]
    assert found.notes[1] == "image: 1 of 6 files are not there, such as 'i0005.png'"
    outside = fetch([*paths[:5], "../secret.png"])
    assert outside.unreadable["labels"].startswith(f"image: '../secret.png' leaves s3://{bucket}/pictures")
