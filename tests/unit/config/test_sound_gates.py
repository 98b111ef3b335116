"""Gates that would refuse every night, because nothing measures what they ask, are refused before anything runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.config.workload import Workload, load_workload
from tasks.core.errors import ConfigError
from tasks.gates.evaluation_set import EvaluationSet
from tasks.planning.soundness import require_sound
from tests.unit.problems.ranking.films import dataset, problem

PROJECT = Path(__file__).parents[3]


def section(name: str) -> dict[str, Any]:
    return load_workload(PROJECT / "params.yaml", name).model_dump(mode="json")


def test_lists_are_not_compared_where_outputs_name_nothing() -> None:
    price = section("price")
    price["gates"]["parity"]["overlap"] = 0.9
    with pytest.raises(ConfigError, match=r"price\.gates\.parity\.overlap: outputs of .* name nothing; leave it out"):
        require_sound("price", Workload.model_validate(price), PROJECT)


def test_a_floor_of_a_metric_that_is_never_measured_is_refused() -> None:
    films = section("recommendation")
    films["gates"]["floors"] = [{"metric": "mrr"}, {"metric": "new_items_ndcg_10"}]
    require_sound("recommendation", Workload.model_validate(films), PROJECT)
    films["gates"]["floors"][0]["metric"] = "rmse"
    with pytest.raises(
        ConfigError, match=r"gates\.floors\.0\.metric: this problem has no 'rmse'; there are: hr_10, mrr"
    ):
        require_sound("recommendation", Workload.model_validate(films), PROJECT)


def test_ranking_tells_all_its_metrics_and_none_of_new_items_without_their_attributes() -> None:
    films = dataset()
    evaluation = EvaluationSet(problem(), films)
    score = evaluation.score(np.zeros((len(evaluation.rows), films.size), np.float32))
    assert tuple(score.metrics) == problem().metrics
