"""This module serves stages in any container: settings, environment, and their result from the run store."""

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.sdk.log import mask_secret
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.core.errors import ConfigError, NightstillError, UnavailableError
from tasks.core.storage import open_store
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.surroundings import SECRETS, plain_variables

WORKSPACE = "/workspace"


class ContainerSettings(BaseSettings):
    """Settings come from Airflow's environment `NIGHTSTILL_…`, read when a DAG file is loaded."""

    model_config = SettingsConfigDict(env_prefix="NIGHTSTILL_", frozen=True, extra="ignore")

    task_image: str = Field(default="nightstill-task:latest", description="image of the stages, best by digest")
    s3_connection: str = Field(default="", description="Airflow connection with the S3 credentials; empty: AWS_…")
    stage_variables: str = Field(default="", description="further variables that stages get, separated by blanks")


@cache
def container_settings() -> ContainerSettings:
    """Return the settings of this process."""
    return ContainerSettings()


def plain_environment() -> dict[str, str]:
    """Return the public variables of every stage. Raises AirflowFailException on a store that is not shared."""
    try:
        return plain_variables(os.environ)
    except ConfigError as error:
        raise AirflowFailException(str(error)) from None


def secret_environment() -> dict[str, str]:
    """Return credentials, and the variables in NIGHTSTILL_STAGE_VARIABLES; masked in Airflow's logs from here on."""
    settings = container_settings()
    if settings.s3_connection:
        connection = Connection.get(settings.s3_connection)
        extra = connection.extra_dejson
        told = {
            "AWS_ACCESS_KEY_ID": connection.login,
            "AWS_SECRET_ACCESS_KEY": connection.password,
            "AWS_ENDPOINT_URL": extra.get("endpoint_url"),
            "AWS_DEFAULT_REGION": extra.get("region_name"),
        }
        os.environ.update({name: value for name, value in told.items() if value})
    further = settings.stage_variables.split()
    if missing := [name for name in further if name not in os.environ]:
        raise AirflowFailException(f"NIGHTSTILL_STAGE_VARIABLES: {', '.join(missing)} not set")
    found = {name: os.environ[name] for name in (*SECRETS, *further) if os.environ.get(name)}
    for value in found.values():
        mask_secret(value)
    return found


def read_result(key: str) -> dict[str, Any] | None:
    """Return a successful command's result from the run store: URI, digest, status, and the outcome of a promotion.

    Raises AirflowException when it is not there: an exit code alone is no result.
    """
    if not key:
        return None
    try:
        store = open_store(os.environ["NIGHTSTILL_RUN_STORE"])
        data = store.read(key)
    except KeyError:
        raise AirflowException(f"the container succeeded, but left nothing at {key} in the run store") from None
    except UnavailableError as error:
        raise AirflowException(str(error)) from error
    except NightstillError as error:
        raise AirflowFailException(str(error)) from error
    result: dict[str, Any] = {"uri": store.url(key), "sha256": hashlib.sha256(data).hexdigest(), "status": "done"}
    if key.endswith(".json"):
        manifest = Manifest.model_validate_json(data)
        if manifest.status == "failed":
            raise AirflowException(f"{store.url(key)}: {manifest.error}")
        result |= {"status": manifest.status, **_outcome(manifest.summary)}
    return result


def _outcome(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in ("outcome", "told", "watched", "shadow") if name in summary}


def out_of_memory(name: str, limit: str) -> AirflowFailException:
    """Return the error of a container that its memory limit killed; the same attempt would end the same way."""
    workload, _, stage = name.partition("/")
    return AirflowFailException(
        f"out of memory: {stage} was killed at its limit of {limit}; "
        f"raise workloads.{workload}.resources.{stage}.memory in params.yaml"
    )
