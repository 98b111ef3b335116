"""Images by the client and the service: the same numbers whichever way, and limits for what is sent."""

import json
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from serving.client import Champion, InputError
from serving.service.app import make_app
from tests.serving_releases import open_releases, promote_tables
from tests.unit.problems.vision import shapes
from tests.unit.problems.vision.test_files import huge
from tests.unit.serving.test_service import settings, until

DAY = shapes.AS_OF.isoformat()
PARQUET = "application/vnd.apache.parquet"
ROWS = shapes.labels(30).drop("label")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[TestClient]:
    """One service for all tests: its process that reads files takes a second to start."""
    releases = open_releases(place / "releases")
    promote_tables(releases, {**shapes.OPTIONS, "classes": list(shapes.CLASSES)}, shapes.labels(), shapes.AS_OF)
    made = make_app(settings(place / "releases", place / "cache", max_pixels=10_000))
    with TestClient(made, raise_server_exceptions=False) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


def as_json(rows: pl.DataFrame) -> dict[str, Any]:
    encoded = [b64encode(content).decode() for content in rows["image"]]
    return {"as_of": DAY, "rows": rows.with_columns(pl.Series("image", encoded)).to_dicts()}


def as_parquet(rows: pl.DataFrame) -> bytes:
    content = BytesIO()
    rows.write_parquet(content)
    return content.getvalue()


def test_json_parquet_and_the_client_say_the_same(client: TestClient, place: Path) -> None:
    told = client.post("/v1/score", json=as_json(ROWS)).json()["rows"]
    headers = {"Content-Type": PARQUET, "Accept": "application/json"}
    by_file = client.post(f"/v1/score?as_of={DAY}", content=as_parquet(ROWS), headers=headers).json()["rows"]
    assert told == by_file and [row["id"] for row in told] == ROWS["id"].to_list()
    champion = Champion.open(str(place / "releases"), "sales", cache=place / "cache")
    images = champion.read_images(ROWS["image"].to_list())
    logits = champion.predict({"image": images})
    nested = client.post("/v1/predict", json={"inputs": {"image": images.tolist()}}).json()["output"]
    np.testing.assert_allclose(nested, logits, rtol=1e-6)
    names = [f"p_{name}" for name in shapes.CLASSES]
    assert [max(names, key=lambda name: row[name]) for row in told] == [f"p_{row['predicted']}" for row in told]
    for row, line in zip(told, logits, strict=True):
        assert row["predicted"] == shapes.CLASSES[int(line.argmax())]
    about = client.get("/v1/model").json()["contract"]
    assert about["images"] == {"image": {"fit": "exact", "most_pixels": 2**24}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no image", "image: file 1 is no image; expected a file of JPEG or PNG"),
        (b"", "image: file 1 is empty"),
        (huge(5000, 5000), "image: file 1 is 5000 × 5000: more than 4,194,304 pixels, which are not unpacked"),
        (huge(101, 100), "image: 10,164 pixels in one request; at most 10,000 are unpacked, send them in parts"),
        (shapes.png(np.zeros((9, 9), np.uint8)), "image: file 1 is 9 × 9 pixels; expected 8 × 8"),
    ],
    ids=["no image", "empty", "huge", "many pixels", "another size"],
)
def test_a_file_that_is_not_taken_is_told_in_a_line(client: TestClient, content: bytes, words: str) -> None:
    rows = ROWS[:2].with_columns(image=pl.Series([ROWS["image"][0], content]))
    for answer in (
        client.post("/v1/score", json=as_json(rows)),
        client.post(f"/v1/score?as_of={DAY}", content=as_parquet(rows), headers={"Content-Type": PARQUET}),
    ):
        assert (answer.status_code, answer.json()["field"]) == (422, "image") and words in answer.json()["error"]


def test_a_text_that_is_no_base64_is_told(client: TestClient) -> None:
    body = {"as_of": DAY, "rows": [{"id": "a", "pen": "thin", "image": "§"}]}
    answer = client.post("/v1/score", json=body)
    assert answer.status_code == 422 and answer.json() == {
        "error": "image: '§' in row 0 is not bytes in base64",
        "field": "image",
        "rule": "type binary",
        "row": 0,
    }
    missing = client.post("/v1/score", json={"as_of": DAY, "rows": [{"id": "a", "pen": "thin", "image": None}]})
    assert missing.status_code == 422 and missing.json()["rule"] == "not null"


def test_many_rows_that_share_one_file_are_counted_as_many(client: TestClient) -> None:
    large = b"x" * 2**20
    rows = pl.DataFrame({"id": [str(row) for row in range(200)], "pen": "thin", "image": [large] * 200})
    answer = client.post(f"/v1/score?as_of={DAY}", content=as_parquet(rows), headers={"Content-Type": PARQUET})
    assert answer.status_code == 422 and "bytes unpacked" in json.dumps(answer.json())


def test_the_client_names_what_it_cannot_read(client: TestClient, place: Path) -> None:
    champion = Champion.open(str(place / "releases"), "sales", cache=place / "cache")
    with pytest.raises(InputError, match="image: file 1 is no image"):
        champion.read_images([ROWS["image"][0], b"x"])
    with pytest.raises(InputError, match="name an input that holds images; there are: image"):
        champion.read_images([], name="picture")


def test_rows_without_a_day_need_none(client: TestClient) -> None:
    asked = as_json(ROWS[:3])
    answer = client.post("/v1/score", json={"rows": asked["rows"]}).json()
    assert answer == client.post("/v1/score", json=asked).json() and answer["as_of"] == DAY
    assert client.post("/v1/score", json={**asked, "as_of": "today"}).status_code == 422


def test_the_client_tells_labels_and_chances_of_files(
    client: TestClient, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = Champion.open(str(place / "releases"), "sales", cache=place / "cache")
    told = client.post("/v1/score", json=as_json(ROWS)).json()["rows"]
    monkeypatch.setattr("serving.client.champion.IMAGES_BYTES", 7 * 64)  # in parts of seven
    found = champion.predict_images(ROWS["image"].to_list())
    assert [one.label for one in found] == [row["predicted"] for row in told]
    for one, row in zip(found, told, strict=True):
        assert one.chances == pytest.approx({name: row[f"p_{name}"] for name in shapes.CLASSES}, rel=1e-5)
    assert champion.predict_images([]) == []
    with pytest.raises(InputError, match="file 9 is no image"):
        champion.predict_images([*ROWS["image"][:9], b"x"])
    with pytest.raises(InputError, match="one file; expected a list"):
        champion.predict_images(ROWS["image"][0])
