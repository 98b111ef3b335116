"""Steps that no student of the section can take are refused before anything runs."""

from pathlib import Path

import pytest

from tasks.config.workload import Workload, load_workload
from tasks.core.errors import ConfigError
from tasks.planning.soundness import require_sound

PROJECT = Path(__file__).parents[3]


def test_codes_that_do_not_share_a_width_are_refused() -> None:
    section = load_workload(PROJECT / "params.yaml", "recommendation").model_dump(mode="json")
    section["recipes"] = {"codes": {"steps": [{"kind": "product-codes", "dims": 7}]}}
    with pytest.raises(ConfigError, match=r"recommendation\.recipes\.codes\.steps: step product-codes: dims: 7"):
        require_sound("recommendation", Workload.model_validate(section), PROJECT)
