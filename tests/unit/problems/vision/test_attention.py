"""Attention transfer: where a network looks, worked out by hand, kept in few bytes, and taught to a student."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.distillation import parts
from tasks.distillation.alignment import ALIGNMENTS
from tasks.distillation.knowledge import Knowledge
from tasks.distillation.options import Student, Teacher
from tasks.distillation.parts import check_students
from tasks.distillation.student import distil
from tasks.distillation.teacher import Mean, held_out_features, teach
from tasks.problems.base import FeatureContract
from tasks.problems.blocks.features import MAP_PLACES
from tasks.problems.models import build_model
from tasks.problems.vision.models.base import GRID, ImageModel, MappedModel
from tests.unit.problems.vision import shapes

ROWS = shapes.dataset(shapes.labels(60))
TRAINING = {"epochs": 6, "batch_size": 16, "learning_rate": 0.02}
SMALL = {"kind": "resnet", "blocks": [1], "width": 8}


class Given(MappedModel):
    """Its maps are given."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__(ROWS.contract, maps.shape[1])
        self.maps = maps

    def body(self, numbers: Tensor) -> Tensor:
        return self.maps


class Blind(ImageModel):
    """It shows no attention."""

    def __init__(self) -> None:
        super().__init__(ROWS.contract, 1)

    def body(self, numbers: Tensor) -> Tensor:
        return numbers


IMAGES = torch.from_numpy(ROWS.inputs(np.arange(4))["image"])


def attention(model: nn.Module, images: Tensor) -> Tensor:
    """(n, GRID, GRID) shares of strength."""
    assert isinstance(model, MappedModel)
    return model.with_maps(images)[1]["attention"].detach().view(-1, GRID, GRID)


def test_attention_is_the_strength_of_places_whatever_the_size_of_maps() -> None:
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, 0, 0, 0], maps[0, 1, 0, 0], maps[0, 0, 1, 1] = 3, -3, 3  # squares over channels: 9 and 4.5
    (found,) = attention(Given(maps), torch.zeros(1, 8, 8, 1, dtype=torch.uint8))
    norm = (16 * (9**2 + 4.5**2)) ** 0.5
    assert float(found[0, 0]) == pytest.approx(9 / norm) == pytest.approx(float(found[3, 3]))
    assert float(found[7, 7]) == pytest.approx(4.5 / norm) and float(found[0, 7]) == 0
    larger = maps.repeat_interleave(4, 2).repeat_interleave(4, 3)
    (again,) = attention(Given(larger), torch.zeros(1, 8, 8, 1, dtype=torch.uint8))
    torch.testing.assert_close(again, found)


@pytest.mark.parametrize(
    "spec", [Spec(kind="resnet"), Spec(kind="separable"), Spec(kind="fast", widths=[8], mirror=True)]
)
def test_output_and_features_are_the_same_beside_maps(spec: Spec) -> None:
    model = build_model(spec, ROWS.contract).eval()
    assert isinstance(model, MappedModel)
    output, shown = model.with_maps(IMAGES)
    for one, other in zip(model.with_features(IMAGES), (output, shown["features"]), strict=True):
        torch.testing.assert_close(one, other)
    assert shown["maps"].shape == (len(IMAGES), model.feature_width * MAP_PLACES)


def test_maps_are_shown_on_a_grid_a_channels_places_beside_each_other() -> None:
    maps = torch.arange(2 * 8 * 8.0).view(1, 2, 8, 8)
    shown = Given(maps).with_maps(torch.zeros(1, 8, 8, 1, dtype=torch.uint8))[1]["maps"].detach()
    assert shown[0, :2].tolist() == [4.5, 6.5], "means of 0, 1, 8, 9 and of 2, 3, 10, 11"
    assert float(shown[0, MAP_PLACES]) == 64 + 4.5


def test_the_term_is_the_squared_distance_of_each_row_whatever_its_fold() -> None:
    term = ALIGNMENTS["attention"]().build(2, 2, 3)
    assert not list(term.parameters())
    ours, theirs = torch.tensor([[0.6, 0.8], [1.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    assert term(ours, theirs, torch.tensor([0, 2])).tolist() == pytest.approx([0, 2])


def test_kept_attention_is_out_of_fold_and_of_few_bytes() -> None:
    torch.manual_seed(1)
    members = [build_model(Spec.model_validate(SMALL), ROWS.contract).eval() for _ in range(2)]
    kept = held_out_features(Mean(members), ROWS, 7, "attention")
    train = ROWS.splits["train"]
    assert kept.dtype == np.float16 and kept.nbytes == 128 * len(ROWS.groups)
    assert np.isfinite(kept[train]).all() and np.isnan(kept[ROWS.splits["test"]]).all()
    with pytest.raises(ConfigError, match="keep: a Blind has no attention to keep"):
        held_out_features(Mean([Blind(), Blind()]), ROWS, 7, "attention")


@pytest.mark.parametrize("mirror", [False, True])
def test_a_fast_network_looks_where_its_image_has_something(mirror: bool) -> None:
    torch.manual_seed(3)
    model = build_model(Spec(kind="fast", widths=[8], residual=False, mirror=mirror), ROWS.contract).eval()
    assert isinstance(model, MappedModel)
    image = torch.zeros(1, 8, 8, 1, dtype=torch.uint8)
    image[0, 1, 1] = 255
    (changed,) = (attention(model, image) - attention(model, torch.zeros_like(image))).abs()
    assert float(changed[:4, :4].max()) > 1.5 * float(changed[4:, 4:].max()), "of the image, not of its mirror image"
    assert float(changed[:4, :4].max()) > 1.5 * float(changed[:4, 6:].max())


def test_a_student_learns_to_look_where_its_teacher_does() -> None:
    """The teacher says that a corner alone matters, which no image would teach."""
    problem, count = shapes.problem(), len(ROWS.groups)
    corner = np.zeros((count, GRID, GRID), np.float16)
    corner[:, :2, :2] = 0.5
    soft = np.zeros((count, 3), np.float32)
    knowledge = Knowledge({"t": soft}, {"attention": {"t": corner.reshape(count, -1)}}, {})

    def share(*terms: dict[str, Any]) -> float:
        student = Student.model_validate({"model": SMALL, "training": TRAINING, "alpha": 0.5, "terms": terms})
        found = distil(
            ROWS, problem, student, knowledge, folds=2, seed=0, checkpoint=lambda _: None, progress=lambda _: print
        )
        assert isinstance(found.model, MappedModel)
        with torch.no_grad():
            seen = attention(found.model.eval(), torch.from_numpy(ROWS.inputs(ROWS.splits["train"])["image"]))
        return float(seen.view(-1, GRID, GRID)[:, :2, :2].square().sum((1, 2)).mean())

    assert share({"kind": "attention", "weight": 10.0}) > 1.5 * share()


def test_a_student_learns_its_teachers_maps_though_its_own_are_narrower() -> None:
    problem = shapes.problem()
    of = Teacher.model_validate({"model": SMALL, "training": TRAINING, "keep": ["maps"]})
    taught = teach(ROWS, problem, of, folds=2, seed=1)
    kept = held_out_features(taught.model, ROWS, 1, "maps")
    assert kept.shape == (len(ROWS.groups), 8 * MAP_PLACES)
    knowledge = Knowledge({"t": taught.soft}, {"maps": {"t": kept}}, {})

    student = Student.model_validate(
        {
            "model": {"kind": "fast", "widths": [6], "residual": False},
            "training": TRAINING,
            "alpha": 0.0,
            "soft": {"kind": "none"},
            "terms": [{"kind": "hint-maps"}],
        }
    )
    check_students(problem, {"t": of}, {"s": student})
    found = distil(
        ROWS, problem, student, knowledge, folds=2, seed=0, checkpoint=lambda _: None, progress=lambda _: print
    ).history.train
    assert found[-1] < 0.8 * found[0], "nothing else is learned here"


@pytest.mark.parametrize(
    ("teacher", "student", "said"),
    [
        ({"keep": ["features"]}, {}, r"students\.s\.terms\.teacher: no attention of any; set keep: \[attention\]"),
        ({}, {"augment": {"kind": "move"}}, r"students\.s\.augment: the teacher's attention is of places"),
        ({}, {"terms": [{"kind": "hint-maps"}]}, r"students\.s\.terms\.teacher: no maps of any; set keep: \[maps\]"),
        (
            {"keep": ["maps"]},
            {"terms": [{"kind": "hint-maps"}], "augment": {"kind": "move"}},
            r"students\.s\.augment: the teacher's maps are of places of the unchanged image",
        ),
        ({}, {}, None),
    ],
)
def test_what_has_no_attention_is_refused_before_anything_is_trained(teacher: Any, student: Any, said: Any) -> None:
    of = Teacher.model_validate({"model": SMALL, "training": TRAINING, "keep": ["attention"], **teacher})
    to = Student.model_validate(
        {"model": SMALL, "training": TRAINING, "alpha": 0.5, "terms": [{"kind": "attention"}], **student}
    )
    if said is None:
        check_students(shapes.problem(), {"t": of}, {"s": to})
        return
    with pytest.raises(ConfigError, match=said):
        check_students(shapes.problem(), {"t": of}, {"s": to})


@pytest.mark.parametrize(
    ("blind", "said"),
    [
        ("teacher", r"teachers\.t\.keep: a fast has no attention to keep; leave it out"),
        ("student", r"students\.s\.model\.kind: a fast has no attention to align"),
    ],
)
def test_a_network_without_attention_is_refused_too(blind: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {name: {"kind": "fast"} if name == blind else SMALL for name in ("teacher", "student")}

    def build(spec: Spec, contract: FeatureContract) -> nn.Module:
        return Blind() if spec.kind == "fast" else build_model(spec, contract)

    monkeypatch.setattr(parts, "build_model", build)
    of = Teacher.model_validate({"model": kinds["teacher"], "training": TRAINING, "keep": ["attention"]})
    terms = [{"kind": "attention"}]
    to = Student.model_validate({"model": kinds["student"], "training": TRAINING, "alpha": 0.5, "terms": terms})
    with pytest.raises(ConfigError, match=said):
        check_students(shapes.problem(), {"t": of}, {"s": to})
