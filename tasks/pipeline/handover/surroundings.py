"""This module gives the environment variables of a stage's container, for every runner that starts containers."""

from collections.abc import Mapping
from urllib.parse import urlparse

from tasks.core.errors import ConfigError
from tasks.core.params import PLACE_SETTING
from tasks.core.redaction import redact

# Stages share no disk, so all that they hand over must lie where every host reaches it.
SHARED = {
    "NIGHTSTILL_RUN_STORE": ("s3",),
    "NIGHTSTILL_RELEASE_STORE": ("s3",),
    "NIGHTSTILL_DVC_REMOTE": ("s3",),
    "NIGHTSTILL_FORECASTS": ("s3",),
    "NIGHTSTILL_TRACKING_URI": ("http", "https"),
}
# Not needed: without them stages read what lies in their image, and MLflow's server chooses.
OPTIONAL = (PLACE_SETTING, "NIGHTSTILL_TRACKING_ARTIFACTS")
NAMESPACE = "OPENLINEAGE_NAMESPACE"
"""A name and no address: an `@` in it is no user."""
PASSED = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION"),
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    *("OPENLINEAGE_URL", NAMESPACE, "OPENLINEAGE_DISABLED"),
    "NIGHTSTILL_WATTS_PER_CORE",
)
SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OPENLINEAGE_API_KEY",
)
NODES = "NIGHTSTILL_NODES"
"""On how many machines a TrainJob runs a stage; its runtime has to tell each its place among them."""
CREDENTIALS = {"OTEL": "OTEL_EXPORTER_OTLP_HEADERS", "OPENLINEAGE": "OPENLINEAGE_API_KEY", "AWS": "AWS_ACCESS_KEY_ID"}


def plain_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the public variables that every stage needs.

    Raises ConfigError on a store that hosts cannot share, and on an address that names a user.
    """
    needed = {**SHARED, **{name: ("s3",) for name in OPTIONAL if environment.get(name)}}
    for name, schemes in needed.items():
        value = environment.get(name, "")
        if urlparse(value).scheme not in schemes:
            raise ConfigError(
                f"{name}={redact(value)!r}: stages in containers share no disk; set it to {schemes[0]}://…"
            )
        if "@" in urlparse(value).netloc:
            raise ConfigError(
                f"{name}: names a user, and everybody may see it; leave the user out and set MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
    for name in PASSED:
        if name != NAMESPACE and "@" in environment.get(name, ""):
            raise ConfigError(
                f"{name}: names a user, and everybody may see it; leave the user out and set "
                + CREDENTIALS.get(name.partition("_")[0], CREDENTIALS["AWS"])
            )
    return {name: environment[name] for name in (*needed, *PASSED) if environment.get(name)}
