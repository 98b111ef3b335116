"""This package has the one definition of contract.json: a model's inputs and output, for all who build or call it."""

from serving.contract.contract import Contract
from serving.contract.errors import InputError, ServingError
from serving.contract.fields import Codebook, Codes, Field, History, Numbers, side_by_side, stacked
from serving.contract.images import Image
from serving.contract.tokens import Tokens

__all__ = [
    "Codebook",
    "Codes",
    "Contract",
    "Field",
    "History",
    "Image",
    "InputError",
    "Numbers",
    "ServingError",
    "Tokens",
    "side_by_side",
    "stacked",
]
