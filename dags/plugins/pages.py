"""Airflow shows the pages of nights and the runs' reports: on its own bar, on each DAG and on each of its runs.

They are read from the run store, behind Airflow's login: whoever may see a workload's nightly DAG sees its pages.
"""

import os
import re
from typing import Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse

from dags.project import HOME, safe_run_id
from tasks.core.errors import NightstillError
from tasks.core.params import NAME
from tasks.core.storage import open_store
from tasks.pipeline.handover.manifest import run_key

PREFIX = "/nightstill"
ROOT = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + PREFIX
OVERVIEW = "index"
DAG_ID = re.compile(rf"(?:nightly|score|watch|verify|rollback)_({NAME.pattern})")
# The pages load nothing and run nothing.
SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
}

app = FastAPI(title="Pages of Nightstill", openapi_url=None)


@app.get("/nights/{name}.html")
def nights(name: str, user: GetUserDep) -> HTMLResponse:
    """Return a workload's page, or the overview, which is for those who may see all DAGs."""
    _require(name, user)
    return _page(f"nights/{name}.html", "nobody has written it yet: the DAG `watch` of a workload does")


@app.get("/runs/{workload}/{run_id}/pages/report/report.html")
def report(workload: str, run_id: str, user: GetUserDep) -> HTMLResponse:
    """Return the report of a run."""
    _require(workload, user)
    key = run_key(workload, safe_run_id(run_id), "pages", "report", "report.html")
    return _page(key, "this run has no report yet; its task `report` writes it")


@app.get("/of-dag/{dag_id}")
def of_dag(dag_id: str) -> RedirectResponse:
    """Lead from a DAG to its workload's nights."""
    return RedirectResponse(f"{ROOT}/nights/{_workload(dag_id) or OVERVIEW}.html")


@app.get("/of-run/{dag_id}/{run_id:path}")
def of_run(dag_id: str, run_id: str) -> RedirectResponse:
    """Lead from a run to its report; from those of other DAGs, which have none, to the nights."""
    if dag_id.startswith("nightly_") and (workload := _workload(dag_id)):
        return RedirectResponse(f"{ROOT}/runs/{workload}/{safe_run_id(run_id)}/pages/report/report.html")
    return of_dag(dag_id)


def _workload(dag_id: str) -> str:
    found = DAG_ID.fullmatch(dag_id)
    return found[1] if found else ""


def _require(name: str, user: Any) -> None:
    """Raise HTTPException unless the user may see the nightly DAG of a workload, or all of them for the overview."""
    if not NAME.fullmatch(name):
        raise HTTPException(404, "no such workload")
    details = None if name == OVERVIEW else DagDetails(id=f"nightly_{name}")
    if not get_auth_manager().is_authorized_dag(method="GET", details=details, user=user):
        raise HTTPException(403, "not for you: ask for the right to see this workload's DAGs")


def _page(key: str, way_out: str) -> HTMLResponse:
    try:
        data = open_store(os.environ.get("NIGHTSTILL_RUN_STORE") or str(HOME / "store")).read(key)
    except KeyError:
        raise HTTPException(404, way_out) from None
    except NightstillError as error:
        raise HTTPException(503, str(error)) from error
    return HTMLResponse(data, headers=SAFE)


class Pages(AirflowPlugin):
    """Pages adds the views to Airflow."""

    name = "nightstill"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": "Nightstill"}]  # noqa: RUF012 Airflow's form
    external_views = [  # noqa: RUF012 Airflow's form
        {"name": "Nights", "href": f"{ROOT}/nights/{OVERVIEW}.html", "destination": "nav", "url_route": "nights"},
        {"name": "Nights", "href": f"{ROOT}/of-dag/{{DAG_ID}}", "destination": "dag", "url_route": "nights-of-dag"},
        {
            "name": "Report",
            "href": f"{ROOT}/of-run/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "report-of-run",
        },
    ]
