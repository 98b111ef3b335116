"""The client keeps a workload's champion in a consumer's own process: fetched, verified, cached, followed."""

from serving.client.champion import Champion, Model, Recommended
from serving.client.errors import IntegrityError, NoRelease, ServingError, SettingError, UnavailableError
from serving.client.release import Release
from serving.contract import Contract, InputError
from serving.contract.labels import Told

__all__ = [
    "Champion",
    "Contract",
    "InputError",
    "IntegrityError",
    "Model",
    "NoRelease",
    "Recommended",
    "Release",
    "ServingError",
    "SettingError",
    "Told",
    "UnavailableError",
]
