"""Airflow's own login stands before the pages of nights and the reports, and its plugin manager takes the views."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse
from airflow.api_fastapi.core_api.security import get_user
from fastapi.testclient import TestClient

from dags.plugins import pages

RUN = "scheduled__2026-06-30T01:00:00+00:00"
NAME = "scheduled__2026-06-30T01-00-00-00-00"


@pytest.fixture
def client(run_store: Path) -> Iterator[TestClient]:
    create_auth_manager()
    for key in ("nights/index.html", "nights/sales.html", f"runs/sales/{NAME}/pages/report/report.html"):
        path = run_store / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<p>{key}</p>")
    yield TestClient(pages.app, follow_redirects=False)
    pages.app.dependency_overrides.clear()


def as_role(role: str | None) -> None:
    user = SimpleAuthManagerUser(username="ops", role=role)
    pages.app.dependency_overrides[get_user] = lambda: user


PATHS = ["/nights/index.html", "/nights/sales.html", f"/runs/sales/{NAME}/pages/report/report.html"]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_sees_a_page_without_a_login(path: str, client: TestClient) -> None:
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer forged"}).status_code in (401, 403)


@pytest.mark.parametrize("path", PATHS)
def test_who_may_see_the_dags_sees_the_pages(path: str, client: TestClient) -> None:
    as_role("VIEWER")
    found = client.get(path)
    assert (found.status_code, found.text) == (200, f"<p>{path[1:]}</p>")
    assert "default-src 'none'" in found.headers["Content-Security-Policy"]
    as_role(None)
    assert client.get(path).status_code == 403


@pytest.mark.parametrize(
    "path",
    ["/nights/customers.html", "/nights/..%2Fruns.html", "/runs/sales/..%2F..%2Fsecret/pages/report/report.html"],
)
def test_what_is_not_there_is_not_there(path: str, client: TestClient) -> None:
    as_role("VIEWER")
    assert client.get(path).status_code == 404


def test_a_dag_leads_to_its_nights_and_a_night_to_its_report(client: TestClient) -> None:
    leads = {
        "/of-dag/nightly_sales": "/nights/sales.html",
        "/of-dag/watch_sales": "/nights/sales.html",
        "/of-dag/another": "/nights/index.html",
        f"/of-run/nightly_sales/{RUN}": f"/runs/sales/{NAME}/pages/report/report.html",
        f"/of-run/watch_sales/{RUN}": "/nights/sales.html",
    }
    for path, target in leads.items():
        assert client.get(path).headers["location"] == pages.ROOT + target


def test_airflow_takes_the_views() -> None:
    views: list[Any] = pages.Pages.external_views
    assert [ExternalViewResponse.model_validate(view).destination for view in views] == ["nav", "dag", "dag_run"]
    assert len({view["url_route"] for view in views}) == len(views)
