"""What lineage calls the sources of raw rows: enough to find them, and nothing that is secret."""

from typing import Any

import pytest

from tasks.pipeline.handover.datasets import of_source

URL = "postgresql+psycopg2://me:hush%40@db.example.com:5432/shop?password=hush"


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"kind": "sql", "url_env": "SHOP", "query": "SELECT 'hush'"}, ("postgres://db.example.com:5432", "shop")),
        ({"kind": "sql", "url_env": "FILE"}, ("sqlite://", "sales.db")),
        ({"kind": "sql", "url_env": "WRONG"}, ("", "WRONG")),
        ({"kind": "sql", "url_env": "NO_PORT"}, ("", "NO_PORT")),
        ({"kind": "sql", "url_env": "CUT"}, ("", "CUT")),
        ({"kind": "sql", "url_env": "NONE"}, ("", "NONE")),
        ({"kind": "table", "path": "s3://bucket/in/*.parquet"}, ("s3://bucket", "in/*.parquet")),
        ({"kind": "table", "path": "data/räume.csv"}, ("file", "data/räume.csv")),
        (
            {"kind": "package", "name": "p", "version": "1.0", "member": "p/a.csv", "sha256": "ab"},
            ("pkg:pypi", "p/1.0/p/a.csv"),
        ),
        ({"kind": "mine", "token": "hush"}, ("", "w/source/mine")),
    ],
)
def test_a_source_is_named_without_its_secrets(section: dict[str, Any], named: tuple[str, str]) -> None:
    environment = {
        "SHOP": URL,
        "FILE": "sqlite:////data/sales.db",
        "WRONG": "postgresql://me:hu/sh@there/db",
        "CUT": "postgresql://me:12?hush@there/db",
        "NO_PORT": "postgresql://me:x@there:hush/db",
    }
    (found,) = of_source(section, "w", environment)
    assert (found.namespace, found.name) == named
    assert "hush" not in repr(found)


def test_several_tables_are_several_sources() -> None:
    section = {"kind": "tables", "tables": {"a": {"kind": "mine"}, "b": {"kind": "table", "path": "b.csv"}}}
    assert [one.name for one in of_source(section, "w", {})] == ["w/source/mine", "b.csv"]
