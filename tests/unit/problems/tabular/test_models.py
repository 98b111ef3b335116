"""Tabular models: raw features in, logits out; structured pruning; the exported file says the same."""

import numpy as np
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.neurons import Neurons, Prunable
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems.base import FeatureContract, Inputs
from tasks.problems.blocks.features import Featured
from tasks.problems.models import build_model
from tasks.problems.tabular.models.mlp import Mlp, Standardise, build_mlp

CONTRACT = FeatureContract(
    problem="tabular",
    inputs={"numeric": ("float32", (3,)), "codes": ("int64", (2,))},
    output_shape=(4,),
    categories={"age": ("unknown", "old", "young"), "city": ("unknown", "A")},
    statistics={"log_mean": [0.0, 1.0, 2.0], "log_scale": [1.0, 2.0, 0.5]},
)
NUMERIC_ONLY = FeatureContract(
    problem="tabular", inputs={"numeric": ("float32", (3,))}, output_shape=(4,), statistics=CONTRACT.statistics
)


def example(rows: int) -> Inputs:
    generator = np.random.default_rng(0)
    numeric = generator.gamma(1, 50, (rows, 3)).astype(np.float32)
    return {"numeric": numeric, "codes": generator.integers(0, 2, (rows, 2))}


def tensors(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(values) for values in inputs.values())


def mlp(*hidden: int, contract: FeatureContract = CONTRACT) -> Mlp:
    torch.manual_seed(0)
    model = build_mlp({"hidden": hidden}, contract)
    assert isinstance(model, Mlp)
    return model.eval()


def test_standardisation_has_its_hand_computed_values() -> None:
    x = torch.tensor([[np.e - 1, 0.0, -3.0], [0.0, 1e30, 0.0]])
    assert torch.allclose(Standardise(CONTRACT)(x), torch.tensor([[1.0, -0.5, -4.0], [0.0, 5.0, -4.0]]))


def test_each_category_has_its_own_embeddings() -> None:
    model = mlp(8)
    assert model.offsets.tolist() == [0, 3] and model.embedding is not None and model.embedding.num_embeddings == 5
    numeric = torch.ones(3, 3)
    output = model(numeric, torch.tensor([[0, 0], [1, 0], [0, 1]]))
    assert output.shape == (3, 4)
    assert not torch.allclose(output[0], output[1]) and not torch.allclose(output[1], output[2])


def test_a_model_without_categories_takes_numbers_alone() -> None:
    assert mlp(8, contract=NUMERIC_ONLY)(torch.ones(2, 3)).shape == (2, 4)


def test_pruning_neurons_keeps_what_an_unimportant_neuron_did_not_change() -> None:
    model, inputs = mlp(8, 6), example(16)
    with torch.no_grad():
        model.output.weight[:, 3:] = 0
        last = model.hidden[1]
        first = model.hidden[0]
        assert isinstance(last, torch.nn.Linear) and isinstance(first, torch.nn.Linear)
        last.weight[:, 4:] = 0
    before = model(*tensors(inputs))
    assert isinstance(model, Prunable) and len(model.prunable()) == 2
    Neurons(keep=0.5, epochs=0).apply(model, tune=lambda *_, **__: 0, calibration=lambda _: inputs)
    assert [producer.out_features for producer, _ in model.prunable()] == [4, 3]
    assert torch.allclose(model(*tensors(inputs)), before, atol=1e-6)


def test_features_are_the_last_hidden_layer() -> None:
    model, inputs = mlp(8, 6), tensors(example(4))
    assert isinstance(model, Featured) and model.feature_width == 6
    output, features = model.with_features(*inputs)
    assert features.shape == (4, 6) and (features >= 0).all() and features.max() > 0
    assert torch.equal(model.features(*inputs), features) and torch.equal(model(*inputs), output)
    with torch.no_grad():
        model.skip.weight.zero_()
    assert torch.allclose(model(*inputs), features @ model.output.weight.T + model.output.bias)


@pytest.mark.parametrize("contract", [CONTRACT, NUMERIC_ONLY])
def test_the_exported_file_gives_what_torch_gives(contract: FeatureContract) -> None:
    model = mlp(8, 6, contract=contract)
    inputs = {name: values for name, values in example(33).items() if name in contract.inputs}
    exported = export_onnx(model, contract, {name: values[:2] for name, values in inputs.items()})
    with torch.no_grad():
        expected = model(*tensors(inputs)).numpy()
    assert np.allclose(run_onnx(exported, inputs), expected, atol=1e-5)
    assert np.allclose(
        run_onnx(exported, {name: values[:1] for name, values in inputs.items()}), expected[:1], atol=1e-5
    )


def test_an_unknown_kind_or_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown kind 'forest' for tabular; there are: mlp"):
        build_model(Spec(kind="forest"), CONTRACT)
    with pytest.raises(ConfigError, match=r"model.depth of kind mlp"):
        build_model(Spec.model_validate({"kind": "mlp", "depth": 3}), CONTRACT)


def test_an_unknown_kind_of_learning_has_no_models() -> None:
    with pytest.raises(ConfigError, match="unknown kind 'mlp' for plane"):
        build_model(Spec(kind="mlp"), FeatureContract("plane", {}, (1,)))
