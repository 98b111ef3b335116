"""Which workloads may ask for nights in shadow."""

from typing import Any

import pytest
import yaml

from tasks.config.workload import Workload
from tasks.core.errors import ConfigError
from tasks.planning.soundness import require_sound
from tests.conftest import PROJECT


def section_of(workload: str, **more: Any) -> Workload:
    file = "params.yaml" if workload in ("sales", "customers") else f"workloads/{workload}.yaml"
    section = yaml.safe_load((PROJECT / file).read_text())["workloads"][workload]
    return Workload.model_validate({**section, "shadow_nights": 7, **more})


@pytest.mark.parametrize("workload", ["sales", "customers"])
def test_a_kind_that_can_be_watched_can_have_them(workload: str) -> None:
    require_sound(workload, section_of(workload), PROJECT)


def test_where_nobody_could_tell_what_came_of_a_prediction_they_are_refused() -> None:
    said = (
        r"workloads/price\.yaml: workloads\.price\.shadow_nights: problem\.id: nobody can tell which row a later label"
    )
    with pytest.raises(ConfigError, match=said):
        require_sound("price", section_of("price"), PROJECT, "workloads/price.yaml")


@pytest.mark.parametrize("nights", [-1, 91, "seven"])
def test_a_number_of_nights_that_makes_no_sense_is_refused(nights: Any) -> None:
    with pytest.raises(ValueError, match="shadow_nights"):
        section_of("sales", shadow_nights=nights)
