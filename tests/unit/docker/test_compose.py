"""The compose file: what it must not let happen on the machine that it runs on."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCKER = Path(__file__).parents[3] / "docker"
TEXT = (DOCKER / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
THIRD_PARTY = ("postgres", "databases", "s3")


def test_the_whole_stack_is_there() -> None:
    assert {"postgres", "s3", "mlflow", *AIRFLOW} <= SERVICES.keys()
    assert [SERVICES[name]["command"] for name in AIRFLOW] == [[name] for name in AIRFLOW]


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_a_setting_and_none_the_latest(name: str) -> None:
    assert re.match(r"\$\{[A-Z0-9_]+_IMAGE:[-?]", SERVICES[name]["image"]) and "latest" not in SERVICES[name]["image"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in THIRD_PARTY])
def test_our_own_images_run_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "user" not in service  # not root: that of the image


@pytest.mark.parametrize("name", THIRD_PARTY)
def test_images_of_others_are_pinned_and_run_confined(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":-[a-z/]+:\d+\.\d+@sha256:[0-9a-f]{64}\}$", service["image"])
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert set(service.get("cap_add", ())) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert service.get("read_only") is True or name == "s3"  # which writes where its version likes
    assert "privileged" not in service


def test_nothing_of_the_machine_is_mounted_but_the_engine_for_the_scheduler() -> None:
    volumes = {"postgres", "s3", "airflow-logs"}
    mounted = {
        (name, volume)
        for name, service in SERVICES.items()
        for volume in service.get("volumes", ())
        if volume.split(":")[0] not in volumes
    }
    assert mounted == {("scheduler", "${DOCKER_SOCKET:-/var/run/docker.sock}:/var/run/docker.sock")}


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_and_our_images_are_asked_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))
    assert asked == {
        "POSTGRES_PASSWORD",
        "AIRFLOW_FERNET_KEY",
        "AIRFLOW_JWT_SECRET",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "NIGHTSTILL_AIRFLOW_IMAGE",
        "NIGHTSTILL_TASK_IMAGE",
    }
    example = (DOCKER / ".env.example").read_text()
    assert all(re.search(rf"^{name}=$", example, re.MULTILINE) for name in asked)


def test_stages_and_servers_meet_in_s3_and_mlflow() -> None:
    for name in AIRFLOW:
        told = SERVICES[name]["environment"]
        for store in ("RUN_STORE", "RELEASE_STORE", "DVC_REMOTE", "FORECASTS"):
            assert told[f"NIGHTSTILL_{store}"].startswith("s3://")
        assert told["NIGHTSTILL_RUNNER"] == "docker"
        assert told["NIGHTSTILL_TRACKING_URI"] == "http://mlflow:5000"


@pytest.mark.parametrize("name", ["postgres", "mlflow"])
def test_who_is_waited_for_can_be_asked_how_it_is(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
