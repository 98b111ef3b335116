"""Teachers and students: built by kind, counted, and stored as safetensors."""

from tasks.models.inputs import inputs_of
from tasks.models.registry import build_model
from tasks.models.weights import count_parameters, load_weights, save_weights

__all__ = ["build_model", "count_parameters", "inputs_of", "load_weights", "save_weights"]
