"""Training: reproducible to the bit, resumable to the bit, stopped early, and not misled by a foreign checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tasks.core.errors import DataError
from tasks.core.storage import FolderStore
from tasks.distillation.checkpoint import StoreCheckpoint, pack, unpack
from tasks.distillation.objective import Objective, Teaching
from tasks.distillation.options import Training
from tasks.distillation.trainer import History, TrainingData, predict, set_up, train
from tasks.problems.base import Dataset, FeatureContract, Floats, HardRows, Inputs, Rows, SoftRows
from tests.unit.distillation.memory import Killed, Memory

TRAIN, VALID = np.arange(40), np.arange(40, 50)
TRAINING = Training(epochs=4, batch_size=8, learning_rate=0.05, weight_decay=0.01, patience=4)


class Slope(Dataset):
    """x (rows, 3) uniform; target the sum of x plus noise; 50 rows."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.random((50, 3), dtype=np.float32)
        self.y: Floats = (self.x.sum(axis=1) + rng.normal(0, 0.1, 50)).astype(np.float32)
        self.contract = FeatureContract("slope", {"x": ("float32", (3,))}, (1,))
        self.splits = {"train": TRAIN, "valid": VALID, "test": VALID}
        self.groups = np.arange(50) % 5
        self.segments = {}

    def inputs(self, rows: Rows, names: Any = ()) -> Inputs:
        return {"x": self.x[rows]}

    def target(self, rows: Rows) -> Floats:
        return self.y[rows]

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def squares(output: Tensor, target: Tensor) -> Tensor:
    return (output[:, 0] - target) ** 2


def absolute(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    return (output - teacher).abs().mean(dim=1)


def goal(
    dataset: Dataset | None = None,
    alpha: float = 1.0,
    soft: Floats | None = None,
    hard: HardRows = squares,
    loss: SoftRows = absolute,
) -> Objective:
    """alpha * hard + (1 - alpha) * soft."""
    teaching = None if soft is None else Teaching(soft, lambda done: alpha, [(1.0, loss)])
    return Objective(dataset or Slope(), hard, teaching)


def error(output: Floats, target: Floats) -> float:
    return float(np.abs(output[:, 0] - target).mean())


def network(seed: int = 1) -> nn.Module:
    """With dropout, whose random numbers a resumed training must draw again."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))


def rows_of(dataset: Dataset | None = None) -> TrainingData:
    return TrainingData(dataset or Slope(), TRAIN, VALID, error)


def weights(model: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def run(
    checkpoint: Memory | None = None, stop_after: int | None = None, **options: Any
) -> tuple[dict[str, bytes], list[int], History | None]:
    """Weights after training, the epochs that ran, and the history (None when it was killed)."""
    ran: list[int] = []

    def progress(epoch: int, loss: float, error: float) -> None:
        ran.append(epoch)
        if epoch == stop_after:
            raise Killed

    model = options.pop("model", None) or network()
    data = options.pop("data", None) or rows_of()
    settings = {"objective": goal(data.dataset), "training": TRAINING, "seed": 3, **options}
    try:
        history = train(model, data, checkpoint=checkpoint, progress=progress, **settings)
    except Killed:
        return weights(model), ran, None
    return weights(model), ran, history


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    first, ran, history = run()
    torch.rand(7)  # the global generator does not matter after the first weights
    second, _, again = run()
    assert first == second and history == again and ran == [1, 2, 3, 4]
    assert first != weights(network()), "nothing was trained"
    assert run(seed=4)[0] != first
    assert run(model=network(2))[0] != first


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(network_without_reseeding(), rows_of(), goal(), TRAINING, seed=3)
    assert torch.equal(torch.rand(3), expected)


def network_without_reseeding() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return network()


@pytest.mark.parametrize("kill", [1, 2, 3])
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(kill: int) -> None:
    whole, _, history = run()
    checkpoint = Memory()
    killed, ran, _ = run(checkpoint, stop_after=kill)
    assert ran == list(range(1, kill + 1)) and killed != whole
    resumed, ran, again = run(checkpoint)
    assert ran == list(range(kill + 1, 5)), "it did not go on from the checkpoint"
    assert resumed == whole and again == history


def test_a_training_may_be_killed_more_than_once() -> None:
    checkpoint = Memory()
    assert [run(checkpoint, stop_after=epoch)[1] for epoch in (1, 2, 3)] == [[1], [2], [3]]
    assert run(checkpoint)[0] == run()[0]


def test_a_finished_training_is_not_run_again() -> None:
    checkpoint = Memory()
    whole, _, history = run(checkpoint)
    again, ran, same = run(checkpoint)
    assert (again, ran, same) == (whole, [], history)


@pytest.mark.parametrize("part", ["model.0.weight", "optimizer.0.exp_avg", "optimizer.2.step"])
def test_weights_moments_and_steps_are_all_taken_from_the_checkpoint(part: str) -> None:
    checkpoint = Memory()
    run(checkpoint, stop_after=2)
    assert checkpoint.data is not None
    tensors, facts = unpack(checkpoint.data)
    tensors[part] = tensors[part] + 1
    assert run(Memory(pack(tensors, facts)))[0] != run()[0]


def test_the_best_weights_survive_in_the_checkpoint() -> None:
    """The first epoch is the best, the kill comes after the second, and no later epoch is better."""
    errors = [1.0, 2.0, 3.0, 4.0]

    def scripted(values: list[float]) -> TrainingData:
        script = iter(values)
        return TrainingData(Slope(), TRAIN, VALID, lambda output, target: next(script))

    whole, _, _ = run(data=scripted(errors))
    checkpoint = Memory()
    run(checkpoint, stop_after=2, data=scripted(errors))
    resumed, ran, history = run(checkpoint, data=scripted(errors[2:]))
    assert ran == [3, 4] and history is not None and history.best == 0 and history.valid == errors
    assert resumed == whole


def other_data() -> dict[str, Any]:
    return {"data": rows_of(Slope(seed=1))}


def other_targets() -> dict[str, Any]:
    dataset = Slope()
    dataset.y = dataset.y + 1
    return {"data": rows_of(dataset)}


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"seed": 4},
        lambda: {"training": TRAINING.model_copy(update={"learning_rate": 0.01})},
        lambda: {"model": network(2)},
        lambda: {"model": nn.Linear(3, 1)},
        lambda: {"objective": goal(alpha=0.5, soft=np.zeros((50, 1), np.float32))},
        other_data,
        other_targets,
    ],
)
def test_a_checkpoint_of_another_training_is_not_taken(change: Callable[[], dict[str, Any]]) -> None:
    checkpoint = Memory()
    run(checkpoint, stop_after=2)
    torch.manual_seed(0)
    fresh, _, _ = run(**change())
    torch.manual_seed(0)
    result, ran, _ = run(checkpoint, **change())
    assert ran == [1, 2, 3, 4] and result == fresh


def test_a_checkpoint_of_other_soft_targets_is_not_taken() -> None:
    one, other = (goal(alpha=0.5, soft=np.full((50, 1), value, np.float32)) for value in (0.0, 1.0))
    checkpoint = Memory()
    run(checkpoint, stop_after=2, objective=one)
    assert run(checkpoint, objective=other)[1] == [1, 2, 3, 4]


def flipped(data: bytes) -> bytes:
    place = len(data) - 40
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    "broken", [lambda data: b"", lambda data: b"\xff" * 200, lambda data: data[:-1], lambda data: data[:50], flipped]
)
def test_a_broken_checkpoint_is_not_taken_and_told(
    broken: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = Memory()
    run(checkpoint, stop_after=2)
    assert checkpoint.data is not None
    checkpoint.data = broken(checkpoint.data)
    result, ran, _ = run(checkpoint)
    assert ran == [1, 2, 3, 4] and result == run()[0]
    assert "training starts anew" in caplog.text


def test_a_checkpoint_in_a_store(tmp_path: Path) -> None:
    checkpoint = StoreCheckpoint(FolderStore(tmp_path), "sales/fold-0.safetensors")
    assert checkpoint.load() is None
    checkpoint.save(b"one")
    checkpoint.save(b"two")
    assert checkpoint.load() == b"two"
    assert StoreCheckpoint(FolderStore(tmp_path), "sales/fold-1.safetensors").load() is None


def test_packed_tensors_and_facts_come_back() -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(2.5)}
    back, facts = unpack(pack(tensors, {"valid": [1.5, float("nan")], "best": 0}))
    assert torch.equal(back["a"], tensors["a"]) and back["b"].item() == 2.5
    assert facts["best"] == 0 and facts["valid"][0] == 1.5 and np.isnan(facts["valid"][1])


@pytest.mark.parametrize(
    ("errors", "epochs", "best"),
    [
        ([5, 4, 6, 7, 1], 4, 1),
        ([5, 4, 4, 4, 1], 4, 1),
        ([5, 6, 4, 6, 3], 5, 4),
        ([float("nan"), 5, float("nan"), 6, 1], 4, 1),
    ],
)
def test_training_stops_when_nothing_got_better_and_keeps_the_best_epochs_weights(
    errors: list[float], epochs: int, best: int
) -> None:
    model, seen = network(), list[dict[str, bytes]]()
    history = train(
        model,
        scripted(*errors),
        goal(),
        TRAINING.model_copy(update={"epochs": 5, "patience": 2}),
        seed=3,
        progress=lambda epoch, loss, error: seen.append(weights(model)),
    )
    assert len(history.valid) == len(history.train) == len(seen) == epochs
    assert history.best == best
    assert weights(model) == seen[best]
    assert len({tuple(state.values()) for state in seen}) == epochs
    assert not model.training


def scripted(*errors: float) -> TrainingData:
    """Data on which the error is each of these in turn."""
    script = iter(errors)
    return TrainingData(Slope(), TRAIN, VALID, lambda output, target: float(next(script)))


@pytest.mark.parametrize(
    ("errors", "best"),
    [([4, 5, 6], -1), ([4, 4, 6], -1), ([4, 5, 3], 1), ([4, 3, 5], 0), ([4, float("nan"), 3], 1)],
)
def test_first_weights_stay_unless_training_makes_them_better(errors: list[float], best: int) -> None:
    model, seen = network(), list[dict[str, bytes]]()
    first = weights(model)
    history = train(
        model,
        scripted(*errors),
        goal(),
        TRAINING.model_copy(update={"epochs": 2, "patience": 5}),
        seed=3,
        progress=lambda epoch, loss, error: seen.append(weights(model)),
        only_better=True,
    )
    assert (history.best, history.valid[1:]) == (best, errors[2:])
    assert weights(model) == (first if best < 0 else seen[best]) and first not in seen


def test_a_resumed_training_knows_what_it_must_better() -> None:
    errors = {0: 4.0, 1: 5.0, 2: 3.0}
    kept, training = Memory(), TRAINING.model_copy(update={"epochs": 2, "patience": 5})
    whole = run(data=scripted(*errors.values()), training=training, only_better=True)
    run(kept, 1, data=scripted(errors[0], errors[1]), training=training, only_better=True)
    resumed = run(kept, data=scripted(errors[0], errors[2]), training=training, only_better=True)
    assert resumed[1] == [2] and resumed[0] == whole[0]
    assert resumed[2] is not None and whole[2] is not None and resumed[2].best == whole[2].best == 1


def constant(value: float) -> Callable[..., Tensor]:
    return lambda output, *others: output[:, 0] * 0 + value


def refused(*tensors: Tensor) -> Tensor:
    raise AssertionError("this loss has no weight")


@pytest.mark.parametrize(
    ("alpha", "hard", "loss", "expected"),
    [
        (0.25, constant(8.0), constant(4.0), 5.0),
        (1.0, constant(8.0), refused, 8.0),
        (0.0, refused, constant(4.0), 4.0),
    ],
)
def test_alpha_weighs_the_hard_loss(alpha: float, hard: HardRows, loss: SoftRows, expected: float) -> None:
    soft = np.zeros((50, 1), np.float32)
    _, _, history = run(objective=goal(alpha=alpha, soft=soft, hard=hard, loss=loss))
    assert history is not None and history.train == pytest.approx([expected] * 4)


def test_the_pure_student_follows_the_teacher_and_the_twin_the_truth() -> None:
    training = Training(epochs=15, batch_size=8, learning_rate=0.05)
    predictions = []
    for alpha in (0.0, 1.0):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        data = TrainingData(Slope(), TRAIN, VALID, Falling())
        train(model, data, goal(alpha=alpha, soft=np.full((50, 1), -1.0, np.float32)), training, seed=0)
        predictions.append(float(predict(model, data.dataset, VALID).mean()))
    assert predictions[0] == pytest.approx(-1, abs=0.2) and predictions[1] == pytest.approx(1.5, abs=0.2)


class Falling:
    """An error that gets better with every epoch, so that the last weights are kept."""

    def __init__(self) -> None:
        self.value = 100.0

    def __call__(self, output: Floats, target: Floats) -> float:
        self.value -= 1
        return self.value


def test_missing_soft_targets_are_refused() -> None:
    values = np.zeros((50, 1), np.float32)
    values[39] = np.nan
    with pytest.raises(DataError, match="soft targets: missing for some training rows"):
        run(objective=goal(alpha=0.9, soft=values))


def test_soft_targets_of_other_splits_are_not_read() -> None:
    soft = np.zeros((50, 1), np.float32)
    soft[40:] = np.nan
    other = np.zeros((50, 1), np.float32)
    assert run(objective=goal(alpha=0.5, soft=soft))[0] == run(objective=goal(alpha=0.5, soft=other))[0]


def test_an_epoch_sees_every_training_row_once_and_no_other() -> None:
    seen: list[Rows] = []

    class Watched(Slope):
        def target(self, rows: Rows) -> Floats:
            seen.append(rows)
            return super().target(rows)

    training = TRAINING.model_copy(update={"epochs": 1, "batch_size": 16})
    run(data=rows_of(Watched()), training=training)
    batches = [rows for rows in seen if len(rows) in (8, 16) and set(rows) <= set(TRAIN)]
    assert [len(rows) for rows in batches] == [16, 16, 8]
    assert sorted(np.concatenate(batches)) == TRAIN.tolist()
    assert np.concatenate(batches).tolist() != TRAIN.tolist(), "not shuffled"


def test_an_epoch_may_be_some_batches_only() -> None:
    steps: list[int] = []
    training = TRAINING.model_copy(update={"epochs": 2, "batches_per_epoch": 3})
    run(training=training, after_step=lambda model: steps.append(1))
    assert len(steps) == 6


def test_a_mask_after_each_step_holds() -> None:
    model = network()

    def mask(changed: nn.Module) -> None:
        with torch.no_grad():
            next(changed.parameters())[0] = 0

    run(model=model, after_step=mask)
    first = next(model.parameters())
    assert (first[0] == 0).all() and (first[1:] != 0).all()


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    """A constant gradient moves an AdamW weight by the learning rate in every step, so its path shows the rates."""
    model = nn.Linear(3, 1)
    model.weight.requires_grad_(False)
    path: list[float] = [float(model.bias.detach())]

    def upward(output: Tensor, target: Tensor) -> Tensor:
        return -output[:, 0]

    run(
        model=model,
        objective=goal(hard=upward),
        training=Training(epochs=4, batch_size=8, learning_rate=0.1),
        after_step=lambda changed: path.append(float(changed.bias.detach())),
    )
    rates = np.diff(path)
    # 20 steps: two to warm up, 18 along a half cosine.
    assert rates[:3] == pytest.approx([0.05, 0.1, 0.1], rel=1e-3)
    assert rates[11] == pytest.approx(0.05, rel=1e-2)
    assert (np.diff(rates[2:]) < 0).all() and 0 < rates[-1] < 0.001


def test_predictions_are_made_without_dropout_in_batches() -> None:
    class Wide(Slope):
        def __init__(self) -> None:
            super().__init__()
            self.x = np.tile(self.x, (50, 1))

    dataset, model = Wide(), network().train()
    rows = np.arange(2500)[::-1].copy()
    output = predict(model, dataset, rows)
    assert output.shape == (2500, 1) and output.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_allclose(output, model(torch.from_numpy(dataset.x[rows])).numpy(), rtol=1e-5, atol=1e-6)
    assert not model.training


def test_setting_up_seeds_and_fixes_threads() -> None:
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    try:
        set_up(11, 1)
        first = torch.rand(2)
        set_up(11, 1)
        assert torch.equal(torch.rand(2), first)
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
