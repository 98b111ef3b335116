"""The champion is compared under its own contract, or not at all."""

import json
from collections.abc import Callable

import numpy as np

from tasks.gates.champion import measure_champion
from tasks.gates.evaluation_set import EvaluationSet
from tasks.problems.contracts import contract_to_json


def contract(evaluation: EvaluationSet, **changes: object) -> bytes:
    return json.dumps({**contract_to_json(evaluation.dataset.contract), **changes}).encode()


def test_no_entry_is_the_first_night(evaluation: EvaluationSet) -> None:
    assert measure_champion(0, None, None, evaluation).absent


def test_equal_contract_is_measured(evaluation: EvaluationSet, make_onnx: Callable[..., bytes]) -> None:
    champion = measure_champion(4, make_onnx(), contract(evaluation), evaluation)
    assert champion.note == ""
    assert champion.score is not None
    assert np.isclose(champion.score.error, 0, atol=1e-6)


def test_missing_files_corrupt_bytes_and_other_contracts_have_no_score(
    evaluation: EvaluationSet, make_onnx: Callable[..., bytes]
) -> None:
    same = contract(evaluation)
    for model, released, why in (
        (None, same, "no model.onnx"),
        (make_onnx(), None, "no contract.json"),
        (b"garbage", same, "cannot be compared"),
        (make_onnx(float("nan")), same, "NaN"),
        (make_onnx(), b"{", "cannot be compared"),
        (make_onnx(), contract(evaluation, output_shape=[3]), "it answers plane (3,), not plane (2,)"),
        (make_onnx(), contract(evaluation, categories={"shop": ["b", "a"]}), "categories or statistics differ"),
    ):
        champion = measure_champion(4, model, released, evaluation)
        assert champion.score is None
        assert not champion.absent
        assert why in champion.note
