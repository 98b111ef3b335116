"""The kind `ranking`: baselines, models, disturbances and what is recommended."""

import numpy as np
import polars as pl
import pytest
import torch

from tasks.compression.choice import LOWEST
from tasks.compression.export import export_onnx
from tasks.compression.runtime import OnnxModel
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems.models import build_model
from tasks.problems.ranking.baselines import naive, simple
from tasks.problems.ranking.closed_form import DENSE, ease, item_knn, together
from tasks.problems.ranking.dataset import HISTORY, make_contract
from tasks.problems.ranking.losses import cross_entropy
from tasks.problems.ranking.metrics import score_ranking
from tasks.problems.ranking.models.product import Ease
from tasks.problems.ranking.models.sequence import SequenceRanker, windows
from tests.unit.problems.ranking.films import AS_OF, dataset, events, problem


def test_the_naive_answer_is_the_best_baseline_of_the_validation_rows() -> None:
    made = dataset(split="leave-one-out")
    valid, rows = made.splits["valid"], made.splits["test"]
    errors = {name: score_ranking(answer(valid), made.target(valid)).error for name, answer in simple(made).items()}
    assert len(errors) == 3 and min(errors, key=lambda name: errors[name]) == "item-kNN"
    np.testing.assert_array_equal(naive(made, rows), simple(made)["item-kNN"](rows))
    told = problem(split="leave-one-out").baselines(made, rows)
    assert set(told) == {*errors, "EASE, decayed"}


def test_ease_is_least_squares_without_an_item_s_own_column() -> None:
    sequences = dataset(split="leave-one-out").sequences(np.arange(480))
    counts = together(sequences, 40)
    had = np.zeros((len(sequences), 40))
    for line, codes in enumerate(sequences):
        had[line, codes - 1] = 1
    np.testing.assert_array_equal(counts, had.T @ had)
    others = np.delete(had, 7, axis=1)
    expected = np.linalg.solve(others.T @ others + 5 * np.eye(39), others.T @ had[:, 7])
    np.testing.assert_allclose(np.delete(ease(counts, 5.0)[:, 7], 7), expected, rtol=1e-4, atol=1e-5)
    assert (np.diag(item_knn(counts)) == 0).all()


def test_a_closed_form_refuses_a_catalogue_that_no_matrix_of_pairs_fits() -> None:
    contract = make_contract(problem().options, [f"f{n}" for n in range(DENSE + 1)])
    with pytest.raises(ConfigError, match=f"{DENSE + 1:,} items are too many for a matrix of pairs"):
        build_model(Spec(kind="ease"), contract)


def test_each_event_is_asked_once_whatever_the_cut() -> None:
    sequence = np.arange(1, 25)
    for offset in range(8):
        parts = windows([sequence, sequence[:3], sequence[:1]], 8, offset)
        asked = sorted(int(code) for part in parts for code in part[1:])
        assert asked == sorted([*range(2, 25), 2, 3])
        assert max(map(len, parts)) <= 9


def test_teachers_that_fit_themselves_learn_what_comes_next() -> None:
    made = dataset(split="leave-one-out")
    torch.manual_seed(0)
    valid, rows = made.splits["valid"], made.splits["test"]
    popular = score_ranking(simple(made)["popularity"](rows), made.target(rows)).error
    for spec in (
        Spec(kind="ease", regularisation=5.0),
        Spec(kind="sequence-gru", width=16, hidden=16, dropout=0.0, epochs=5, batch_size=16, learning_rate=0.02),
        Spec(kind="sequence-transformer", width=16, dropout=0.0, epochs=5, batch_size=16, learning_rate=0.02),
    ):
        model = build_model(spec, made.contract)
        assert isinstance(model, Ease | SequenceRanker)
        errors = model.fit(made, made.splits["train"], valid, seed=0)
        assert np.isfinite(errors).all()
        with torch.no_grad():
            output = model.eval()(torch.from_numpy(made.inputs(rows)[HISTORY])).numpy()
        assert score_ranking(output, made.target(rows)).error < 0.8 * popular, spec.kind


def test_the_exported_file_names_the_best_items_without_those_of_the_history() -> None:
    made = dataset(split="leave-one-out")
    torch.manual_seed(0)
    model = build_model(Spec(kind="decayed-sum", width=8), made.contract).eval()
    inputs = made.inputs(made.splits["test"])
    inputs[HISTORY][0] = 0
    data = export_onnx(model, made.contract, inputs)
    runtime = OnnxModel(data)
    scores = runtime(inputs)
    names = [item.name for item in runtime._session.get_outputs()]
    ids, best = runtime._session.run(["ids", "scores"], inputs)
    assert names == ["output", "ids", "scores"] and ids.dtype == np.int64 and ids.shape == (60, 12)
    for line, codes, values, history in zip(scores, ids, best, inputs[HISTORY], strict=True):
        assert not set(codes) & {*history, 0}
        left = [code for code in np.argsort(-line, kind="stable") + 1 if code not in history]
        assert codes.tolist() == left[:12] and (values == line[codes - 1]).all() and (values > LOWEST).all()


def test_the_exported_file_names_them_again_where_items_come_again() -> None:
    made = dataset(split="leave-one-out", repeats=True)
    model = build_model(Spec(kind="decayed-sum", width=8), made.contract).eval()
    inputs = made.inputs(made.splits["test"])
    runtime = OnnxModel(export_onnx(model, made.contract, inputs))
    (ids,) = runtime._session.run(["ids"], inputs)
    assert (ids == np.argsort(-runtime(inputs), axis=1, kind="stable")[:, :12] + 1).all()


def test_where_nothing_is_left_the_exported_file_names_none() -> None:
    made = dataset(split="leave-one-out", history=40, top=12)
    model = build_model(Spec(kind="decayed-sum", width=8), made.contract).eval()
    inputs = made.inputs(made.splits["test"])
    inputs[HISTORY][0] = np.arange(1, 41)
    inputs[HISTORY][1] = [0, 0, 0, *range(1, 38)]
    ids, best = OnnxModel(export_onnx(model, made.contract, inputs))._session.run(["ids", "scores"], inputs)
    assert ids[0].tolist() == [0] * 12 and (best[0] == np.float32(LOWEST)).all()
    assert sorted(ids[1, :3]) == [38, 39, 40] and not ids[1, 3:].any() and ids[2:].all()


def test_a_row_whose_answer_the_catalogue_lacks_teaches_nothing() -> None:
    made = dataset(pl.concat([events(), _rare()]), split="leave-one-out", least_events=3)
    rows = made.splits["test"]
    target = torch.from_numpy(made.target(rows))
    lacking = ~(target == 1).any(dim=1)
    assert made.size == 40 and lacking.sum() == 2
    output = torch.zeros(target.shape, requires_grad=True)
    loss = cross_entropy(output, target)
    assert (loss[lacking] == 0).all() and (loss[~lacking] > 0).all()
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None and (output.grad[lacking] == 0).all() and (output.grad[~lacking] != 0).any()


def _rare() -> pl.DataFrame:
    """Two users' last events are of an item that nobody else has."""
    return pl.DataFrame({"user": ["u000", "u001"], "item": ["rare"] * 2, "time": [AS_OF] * 2, "clock": [99.0] * 2})


@pytest.mark.parametrize("kind", ["transformer", "sequence-transformer"])
def test_heads_that_do_not_share_the_width_are_told(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"^model\.width: expected a multiple of 3 heads, got 16$"):
        build_model(Spec(kind=kind, width=16, heads=3), dataset().contract)


def test_what_is_popular_lately_is_known_on_the_day() -> None:
    made = dataset(split="time")
    for name in ("valid", "test"):
        rows = made.splits[name]
        lately = made.popularity_before(rows, 7)
        expected = np.zeros_like(lately)
        for line, day in enumerate(made.days[made.asked[rows]]):
            codes = made.codes[(made.days < day) & (made.days >= day - 7)]
            np.add.at(expected[line], codes - 1, 1)
        np.testing.assert_array_equal(lately, expected)
        answers = simple(made)
        order = (np.argsort(-answers[name](rows), axis=1) for name in ("popularity", "popularity, 7 days"))
        assert lately.any(axis=1).all() and (next(order) != next(order)).any(axis=1).all()


def test_disturbances_do_what_they_say() -> None:
    made = dataset(split="leave-one-out")
    inputs = made.inputs(made.splits["test"])
    before, build = inputs[HISTORY], problem()
    half = build.corrupt("shorten", 0.5, inputs, 1)[HISTORY]
    assert (half[:, :4] == 0).all() and (half[:, 4:] == before[:, 4:]).all()
    mixed = build.corrupt("shuffle", 1.0, inputs, 1)[HISTORY]
    assert (np.sort(mixed) == np.sort(before)).all() and (mixed != before).any()
    noisy = build.corrupt("noise", 0.3, inputs, 1)[HISTORY]
    assert 0.1 < (noisy != before).mean() < 0.5 and ((noisy > 0) == (before > 0)).all()
    with pytest.raises(ConfigError, match=r"unknown kind 'fog'; there are: noise, shorten, shuffle"):
        build.corrupt("fog", 0.1, inputs, 1)


def test_every_user_gets_the_best_items_that_they_have_not_had() -> None:
    made = dataset(split="leave-one-out")
    build = problem(split="leave-one-out")
    torch.manual_seed(0)
    model = build_model(Spec(kind="decayed-sum", width=8), made.contract).eval()
    runtime = OnnxModel(export_onnx(model, made.contract, made.inputs(made.splits["test"])))
    strange = pl.DataFrame({"user": ["new"], "item": ["f99"], "time": [AS_OF], "clock": [0.0]})
    table = pl.concat([events(), strange])
    found = build.predict({"events": table.lazy()}, AS_OF, made.contract, runtime)
    assert found.columns == ["user", "rank", "item", "score"] and found["user"].n_unique() == 61
    assert (found.group_by("user").len()["len"] == 12).all()
    assert found.join(table, on=("user", "item")).is_empty()
    popular = found.filter(pl.col("user") == "new")
    assert popular["item"].to_list() == list(made.contract.categories["_item"][:12])


def test_pictures_show_hits_by_popularity_and_what_came() -> None:
    made, build = dataset(split="leave-one-out"), problem(split="leave-one-out")
    rows = made.splits["test"]
    shown = build.examples(made, rows, {"candidate": build.naive(made, rows)}, 4)
    assert [len(example.curves["candidate"]) for example in shown[:1]] == [5]
    assert len(shown) == 4 and all(1.0 in example.actual for example in shown[1:])


def test_what_is_beside_the_error_is_measured() -> None:
    made, build = dataset(split="leave-one-out"), problem(split="leave-one-out")
    rows = made.splits["test"]
    popular = build.beside(made, rows, simple(made)["popularity"](rows))
    rare = build.beside(made, rows, -simple(made)["popularity"](rows))
    assert rare["novelty"] > popular["novelty"] > 0 and popular["new_items"] == 0
