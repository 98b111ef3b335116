"""What every implementation must do, ours and another package's: the suite that a new one is added to."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from onnx import helper

from serving.contract import Contract
from tasks.compression.chain import OURS as STEPS
from tasks.compression.chain import parse_chain
from tasks.compression.correction import corrected
from tasks.compression.export import OPSET, export_onnx
from tasks.compression.options import Recipe
from tasks.compression.recipe import compress
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec, pick
from tasks.core.errors import ConfigError
from tasks.core.files import read_json
from tasks.core.loader import Kinds
from tasks.distillation.teacher import SelfTrained
from tasks.gates.champion import Champion, measure_champion
from tasks.gates.drift import Drift, DriftFound
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.mandatory import MANDATORY
from tasks.gates.options import CalibrationGate, DiversityGate, FloorGate, Gates
from tasks.gates.verdict import decide
from tasks.problems import PROBLEMS, get_problem
from tasks.problems.base import Batches, SoftLoss
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.blocks.outputs import outputs
from tasks.problems.contracts import contract_from_json, contract_to_json
from tasks.problems.models import build_model, models, networks, trees
from tasks.tables.sources import SOURCES, get_source
from tasks.tables.table import Column, TableContract
from tasks.tables.validation.guard import Guard
from tasks.tables.validation.options import CheckOptions
from tests.kinds.conftest import LABELLED, World
from tests.unit.problems.forecasting.models.windows import SMALL
from tests.unit.problems.vision import shapes
from tests.wheels import make_wheel, serve_wheels

Worlds = Callable[[str], World]
WORLDS = (*PROBLEMS, *LABELLED)
LEARNING = (*WORLDS, "acme-visits")
DAYS = TableContract((Column("day", "date", key=True), Column("units", "number")), "day", "units", ())
NIGHT = date(2026, 3, 2)


# Sources


def _section(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Spec, TableContract]:
    """A source's section with data behind it, and the contract of a workload that reads it."""
    from tasks.config.workload import load_workloads

    if kind == "table":
        (folder / "days.csv").write_text("day,units\n2026-03-01,2.5\n2026-03-02,1\n")
        return Spec(kind=kind, path="days.csv"), DAYS
    if kind == "folder":
        for name, label, content in shapes.labels(6).select("id", "label", "image").iter_rows():
            (folder / "pictures" / label).mkdir(parents=True, exist_ok=True)
            (folder / "pictures" / label / f"{name}.png").write_bytes(content)
        return Spec(kind=kind, path="pictures"), shapes.problem(id="file", by=[]).tables()[0]
    if kind == "sql":
        url = f"sqlite:///{folder / 'days.db'}"
        with sa.create_engine(url).begin() as connection:
            connection.execute(sa.text("CREATE TABLE days (day TEXT, units REAL)"))
            connection.execute(sa.text("INSERT INTO days VALUES ('2026-03-01', 2.5), ('2026-03-02', 1)"))
        monkeypatch.setenv("DAYS_URL", url)
        query = "SELECT day, units FROM days WHERE day <= :as_of"
        return Spec(kind=kind, url_env="DAYS_URL", query=query), DAYS
    if kind == "package":
        serve_wheels(folder, monkeypatch)
        digest = make_wheel(folder, {"shopdata/days.csv": "day,units\n2026-03-01,2.5\n2026-03-02,1\n"})
        return Spec(kind=kind, name="shopdata", version="1.0", sha256=digest, member="shopdata/days.csv"), DAYS
    if kind == "acme-shop":
        return Spec(kind=kind, shops=3), get_problem(Spec(kind="acme-visits")).tables()[0]
    sections = load_workloads(Path(__file__).parents[2] / "params.yaml")
    section = next(section for section in sections.values() if section.source.kind == kind)
    small = {"stores": 2, "departments": 2} if kind == "complete-journey" else {}
    small = {"days": 3} if kind == "simulated-requests" else small
    return Spec(**{**section.source.model_dump(), **small}), get_problem(section.problem).tables()[0]


@pytest.mark.parametrize("kind", [*SOURCES, "acme-shop"])
def test_a_source_gives_the_columns_that_the_workload_declares_and_the_same_rows_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section, contract = _section(kind, tmp_path, monkeypatch)
    first, again = (
        get_source(section, (contract,), "any", tmp_path).fetch(NIGHT).tables[contract.name] for _ in range(2)
    )
    Guard(contract, CheckOptions()).require(first)
    assert first.equals(again)
    keys = [key for key in contract.keys if key in first.columns]
    assert first.equals(first.sort(keys)), "in the order of its keys"


@pytest.mark.parametrize("kind", [*SOURCES, "acme-shop"])
def test_a_source_names_an_option_that_it_does_not_know(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section, contract = _section(kind, tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match=r"source\.bogus"):
        get_source(Spec(kind=kind, **section.options, bogus=1), (contract,), "any", tmp_path)


# Kinds of learning


@pytest.mark.parametrize("kind", LEARNING)
def test_a_kind_of_learning_writes_a_contract_that_its_features_pass(kind: str, worlds: Worlds, tmp_path: Path) -> None:
    world = worlds(kind)
    world.dataset.save(tmp_path)
    written = read_json(tmp_path / "contract.json")
    again = json.loads(json.dumps(contract_to_json(world.dataset.contract)))
    assert contract_from_json(written) == contract_from_json(again)
    contract = Contract.from_json(written)
    assert contract.problem == world.kind
    for rows in world.dataset.splits.values():
        assert len(rows)
        inputs = world.dataset.inputs(rows)
        assert contract.check(inputs, list(inputs)) == len(rows)
    loaded = world.problem.load(tmp_path)
    rows = loaded.splits["test"]
    for name, values in world.dataset.inputs(rows).items():
        np.testing.assert_array_equal(loaded.inputs(rows)[name], values)
    np.testing.assert_array_equal(loaded.target(rows), world.dataset.target(rows))


@pytest.mark.parametrize("kind", LEARNING)
def test_a_kind_of_learning_drafts_the_inputs_that_it_makes(kind: str, worlds: Worlds) -> None:
    draft, made = worlds(kind).problem.draft_contract(), worlds(kind).dataset.contract
    assert {name: dtype for name, (dtype, _) in draft.inputs.items()} == {
        name: dtype for name, (dtype, _) in made.inputs.items()
    }
    if not made.choice:  # how many items a catalogue has only data can tell
        assert draft.output_shape == made.output_shape


@pytest.mark.parametrize("kind", LEARNING)
def test_a_kind_of_learning_scores_its_baseline(kind: str, worlds: Worlds) -> None:
    problem, dataset = worlds(kind).problem, worlds(kind).dataset
    rows = dataset.splits["test"]
    naive = problem.naive(dataset, rows)
    assert naive.shape == (len(rows), *dataset.contract.output_shape)
    score = problem.score(naive, dataset.target(rows))
    assert score.error > 0 and len(score.loss) == len(score.weight) == len(rows)
    np.testing.assert_allclose(problem.ensemble([naive, naive], [0.3, 0.7]), problem.ensemble([naive]), rtol=1e-4)
    noisy = problem.corrupt("noise", 0.1, dataset.inputs(rows), seed=1)
    assert {name: values.shape for name, values in noisy.items()} == {
        name: values.shape for name, values in dataset.inputs(rows).items()
    }


@pytest.mark.parametrize("kind", LEARNING)
def test_a_kind_of_learning_predicts_a_table_by_the_code_of_its_features(kind: str, worlds: Worlds) -> None:
    world = worlds(kind)
    contract = world.dataset.contract
    seen: list[Mapping[str, Any]] = []

    class Zero:
        names = tuple(contract.inputs)

        def __call__(self, inputs: Any) -> Any:
            seen.append(inputs)
            return np.zeros((len(next(iter(inputs.values()))), *contract.output_shape), np.float32)

    found = world.problem.predict(world.tables, world.as_of, contract, Zero())
    assert len(found)
    assert Contract.from_json(contract_to_json(contract)).check(seen[0], list(contract.inputs))


# Models

MODELS = [("forecasting", model) for model in (*networks("forecasting"), *trees("forecasting"))]
MODELS += [("tabular", "mlp")]  # the others are for rows with a label
MODELS += [(world, model) for world in LABELLED for model in (*networks("tabular"), *trees("tabular"))]
MODELS += [("ranking", model) for model in (*networks("ranking"), *trees("ranking"))]
MODELS += [("text", model) for model in (*networks("text"), *trees("text"))]
MODELS += [("vision", model) for model in (*networks("vision"), *trees("vision"))]
MODELS += [("tabular", "acme-line"), ("acme-visits", "acme-line")]
OPTIONS_OF = {("forecasting", kind): options for kind, options in SMALL.items()} | {
    ("forecasting", "lightgbm"): {"trees": 5, "leaves": 4, "samples": 400},
    ("tabular", "mlp"): {"hidden": [8]},
    ("tabular", "acme-line"): {"scale": 100.0},
    **{(world, "lightgbm"): {"trees": 20, "leaves": 4} for world in LABELLED},
    **{("ranking", kind): {"width": 8} for kind in networks("ranking")},
    ("ranking", "neighbours"): {"near": 8},
    **{("ranking", f"sequence-{kind}"): {"width": 8, "epochs": 1} for kind in ("gru", "transformer")},
    **{("text", kind): {"width": 8, "rows": 257} for kind in networks("text")},
    ("vision", "resnet"): {"blocks": [1, 1], "width": 4},
    ("vision", "fast"): {"widths": [4, 8]},
    ("vision", "separable"): {"widths": [4, 4, 8]},
    **{(world, "catboost"): {"trees": 20, "depth": 3} for world in LABELLED},
    **{(world, "tabm"): {"members": 3, "hidden": [8]} for world in LABELLED},
}


@pytest.mark.parametrize(("learning", "kind"), MODELS)
def test_a_model_is_built_and_its_file_says_what_torch_says(learning: str, kind: str, worlds: Worlds) -> None:
    dataset = worlds(learning).dataset
    torch.manual_seed(0)
    model = build_model(Spec(kind=kind, **OPTIONS_OF.get((learning, kind), {})), dataset.contract).eval()
    if isinstance(model, SelfTrained):
        assert all(np.isfinite(model.fit(dataset, dataset.splits["train"], dataset.splits["valid"], seed=0)))
    else:
        assert list(model.parameters())
    rows = dataset.splits["test"]
    inputs = dataset.inputs(rows, inputs_of(model, dataset.contract.inputs))
    expected = outputs(model, Batches.of(inputs))
    assert expected.shape == (len(rows), *dataset.contract.output_shape) and np.isfinite(expected).all()
    data = export_onnx(model, dataset.contract, {name: values[:2] for name, values in inputs.items()})
    np.testing.assert_allclose(run_onnx(data, inputs), expected, rtol=1e-3, atol=1e-3)
    first = {name: values[:1] for name, values in inputs.items()}
    np.testing.assert_allclose(run_onnx(data, first), expected[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("learning", "kind"), MODELS)
def test_a_model_names_an_option_that_it_does_not_know(learning: str, kind: str, worlds: Worlds) -> None:
    with pytest.raises(ConfigError, match=r"model\.bogus"):
        build_model(Spec(kind=kind, bogus=1), worlds(learning).dataset.contract)


def test_a_model_is_offered_to_the_kinds_of_learning_that_it_fits_alone() -> None:
    assert "acme-line" in models("tabular") and "acme-line" not in models("forecasting")


# Losses

TABULAR_LOSSES = ("kl", "cross-entropy", "logits")
FORECASTING_LOSSES = (
    "absolute",
    "squared",
    "pinball",
    "bounded",
    "residual",
    "distribution",
    "gaussian",
    "soft-labels",
)
TERMS = ("multi-scale", "frequency")
OF_CLASSES = ("tabular", "tabular/yes-no", "tabular/classes", "vision")
LOSSES = [(world, kind) for world in OF_CLASSES for kind in TABULAR_LOSSES]
LOSSES += [("tabular/value", kind) for kind in ("squared", "absolute")]
LOSSES += [("tabular/quantiles", kind) for kind in ("squared", "absolute", "quantiles")]
LOSSES += [("forecasting", kind) for kind in (*FORECASTING_LOSSES, *TERMS)]
LOSSES += [("text", kind) for kind in TABULAR_LOSSES]
LOSSES += [("ranking", kind) for kind in ("shares", "top-items", "relaxed-ranking")]
LOSSES += [(learning, "acme-gap") for learning in LEARNING]


@pytest.mark.parametrize(("learning", "kind"), LOSSES)
def test_a_loss_is_finite_by_row_and_can_be_learned_from(learning: str, kind: str, worlds: Worlds) -> None:
    problem, dataset = worlds(learning).problem, worlds(learning).dataset
    offered = problem.strategies()
    kinds = Kinds("losses", {**offered.soft, **offered.terms}, SoftLoss, worlds(learning).kind)
    loss: SoftLoss = pick(Spec(kind=kind), kinds, "soft")
    rows = dataset.splits["valid"]
    target = torch.from_numpy(dataset.target(rows))
    teacher = torch.from_numpy(problem.naive(dataset, rows).copy())
    student = (teacher + 2 * torch.rand(teacher.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    values = loss.bind(dataset.contract)(student, teacher, target)
    assert values.shape == (len(rows),) and values.isfinite().all()
    (slope,) = torch.autograd.grad(values.mean(), student)
    assert slope.isfinite().all() and slope.abs().sum() > 0


def test_the_list_of_losses_here_is_whole(worlds: Worlds) -> None:
    for learning in WORLDS:
        offered = worlds(learning).problem.strategies()
        assert {kind for of, kind in LOSSES if of == learning} == {*offered.soft, *offered.terms, "acme-gap"}


# Corrections

CALIBRATED = {
    **{kind: "conformal" if kind == "forecasting" else "temperature" for kind in PROBLEMS if kind != "ranking"},
    "tabular/yes-no": "temperature",
    "tabular/classes": "temperature",
}


@pytest.mark.parametrize("kind", CALIBRATED)
def test_a_correction_in_the_graph_is_the_one_that_is_told(kind: str, worlds: Worlds) -> None:
    world = worlds(kind)
    problem = get_problem(Spec(**world.section.model_dump(), calibrate=CALIBRATED[kind]))
    dataset = world.dataset
    rows = dataset.splits["train"]
    given = 3 * problem.naive(dataset, rows)  # too wide
    if CALIBRATED[kind] == "temperature":  # too sure, of what it knows nothing of
        given = 5 * np.random.default_rng(1).standard_normal(given.shape).astype(np.float32)
    found = problem.correction(dataset, rows, given)
    assert found is not None and problem.corrections is not None
    assert problem.corrections.model_validate(json.loads(found.model_dump_json())) == found
    ends = [helper.make_tensor_value_info(name, 1, ["batch", *given.shape[1:]]) for name in ("given", "output")]
    plain = helper.make_graph([helper.make_node("Identity", ["given"], ["output"])], "plain", ends[:1], ends[1:])
    file = helper.make_model(plain, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10).SerializeToString()
    np.testing.assert_allclose(
        run_onnx(corrected(file, found), {"given": given}), found.apply(given), rtol=1e-5, atol=1e-5
    )
    assert world.problem.correction(dataset, rows, given) is None, "it has to be asked for"


# Steps

STEP_OPTIONS: dict[str, dict[str, Any]] = {
    "neurons": {"keep": 0.5, "epochs": 0},
    "channels": {"keep": 0.5, "epochs": 0},
    "low-rank": {"energy": 0.99, "epochs": 0},
    "magnitude": {"sparsity": 0.3, "epochs": 0},
    "int8-qat": {"epochs": 1},
    "tail": {"keep": 0.5, "epochs": 0},
    "product-codes": {"levels": 8, "epochs": 0},
    "token-vectors": {"keep": 0.5, "epochs": 0},
}
WORLD_OF = {
    **dict.fromkeys(("tail", "product-codes"), ("ranking", "decayed-sum")),
    "token-vectors": ("text", "bag"),
}
"""Steps that only some models can take: kind of learning and model."""


@pytest.mark.parametrize("kind", [*STEPS, "acme-round"])
def test_a_step_leaves_a_file_that_runs_and_says_what_its_network_says(kind: str, worlds: Worlds) -> None:
    kind_of_learning, of = WORLD_OF.get(kind, ("forecasting", "tcn" if kind == "channels" else "linear-mlp"))
    world = worlds(kind_of_learning)
    dataset, problem = world.dataset, world.problem
    torch.manual_seed(0)
    model = build_model(Spec(kind=of, **SMALL.get(of, {})), dataset.contract)
    names = inputs_of(model, dataset.contract.inputs)
    valid = dataset.splits["valid"]
    found = compress(
        model,
        parse_chain("one", Recipe(steps=(Spec(kind=kind, **STEP_OPTIONS.get(kind, {})),))),
        dataset.contract,
        valid=dataset.batches(valid, names),
        error=lambda output: problem.score(output, dataset.target(valid)).error,
        calibration=lambda count: dataset.inputs(dataset.splits["train"][:count], names),
        tune=lambda *_, **__: 0,
        rounds=0,
    )
    assert [stock.step for stock in found.history] == ["student", kind]
    assert np.isfinite([stock.error for stock in found.history]).all()
    assert found.parity.relative < 0.1
    assert np.isfinite(run_onnx(found.model, dataset.inputs(dataset.splits["test"], names))).all()


# Gates

Make = Callable[..., Any]


def _bad(
    name: str, evaluation: EvaluationSet, gates: Gates, candidate: Make, onnx: Make
) -> tuple[Candidate, Any, Gates]:
    """A candidate that a gate must refuse, whom it is compared with, and under which limits."""
    naive = evaluation.score(evaluation.problem.naive(evaluation.dataset, evaluation.rows))
    teacher = evaluation.score(evaluation.run(onnx(10.01)))
    opponents = Opponents(naive, teacher, Champion(0))
    if name == "accuracy":
        return candidate(model=onnx(20.0)), opponents, gates
    if name == "segments":
        contract = json.dumps(contract_to_json(evaluation.dataset.contract)).encode()
        champion = measure_champion(2, onnx(10.009), contract, evaluation)
        return candidate(), Opponents(naive, teacher, champion), gates
    if name == "size":
        return candidate(model=onnx(10.01, layers=1)), opponents, gates
    if name == "parity":
        return candidate(parity={"relative": 0.5}), opponents, gates
    if name == "drift":
        drift = DriftFound((Drift("x", "input", 3.0, None),))
        return candidate(), Opponents(naive, teacher, Champion(0), drift), gates
    limits: dict[str, Any] = {
        "latency": {"latency": gates.latency.model_copy(update={"max_p50_ratio": 1e-9})},
        "robustness": {"robustness": (gates.robustness[0].model_copy(update={"level": 0.5}),)},
        "acme-bias": {"further": (Spec(kind="acme-bias", limit=1e-6),)},
        "diversity": {"diversity": DiversityGate(metric="rmse", least=1e9)},
        "floors": {"floors": (FloorGate(metric="rmse", least=1e9),)},
        "calibration": {"calibration": CalibrationGate(pinball=1e-9)},
    }
    return candidate(), opponents, gates.model_copy(update=limits[name])


@pytest.mark.parametrize("name", [*MANDATORY, "acme-bias"])
def test_a_gate_refuses_its_known_bad_candidate_and_passes_a_good_one(
    name: str, evaluation: EvaluationSet, gates: Gates, make_candidate: Make, make_onnx: Make
) -> None:
    further = (Spec(kind="acme-bias", limit=0.5),)
    drift = gates.drift.model_copy(update={"max_psi": 0.2})
    gates = gates.model_copy(
        update={
            "drift": drift,
            "further": further,
            "diversity": DiversityGate(metric="rmse"),
            "floors": (FloorGate(metric="rmse"),),
            "calibration": CalibrationGate(pinball=0.1),
        }
    )
    bad, opponents, limits = _bad(name, evaluation, gates, make_candidate, make_onnx)
    refused = [result.gate for result in decide([bad], evaluation, opponents, limits, seed=5).ranked[0].failed]
    assert name in {gate.partition("/")[0] for gate in refused}
    first = Opponents(opponents.naive, opponents.teacher, Champion(0), DriftFound(first_night=True))
    good = decide([make_candidate()], evaluation, first, gates, seed=5)
    assert good.winner is not None
    assert name in {result.gate.partition("/")[0] for result in good.winner.results}
