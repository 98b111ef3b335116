"""Airflow's own numbers, as a collector gets them that `make up` was told of."""

from typing import Any

import pytest

from tests.e2e.conftest import wait

pytestmark = [pytest.mark.timeout(1200)]


def test_airflows_own_metrics_reach_the_collector(installation: Any) -> None:
    found = wait(
        "a metric of the scheduler", lambda: {name for name in installation.collector.names if "scheduler" in name}
    )
    assert all(name.startswith("airflow.") for name in found)
