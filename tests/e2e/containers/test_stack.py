"""Nights on the production-like stack: the DAG with the docker runner, stages in containers, nothing shared but S3."""

from typing import Any

import pytest

pytestmark = [pytest.mark.timeout(1800)]


def test_a_night_in_containers_promotes_and_its_consumer_scores(stack: Any, first: Any) -> None:
    assert first.code == 0, first.output
    assert set(first.states.values()) == {"success"}, first.output
    assert set(first.statuses.values()) == {"done"}
    assert first.outcome["outcome"] == "promoted"
    assert stack.releases() == [1]
    print(first.output)
