"""YAML files as mappings."""

from collections.abc import Mapping
from typing import Any

import yaml

from tasks.core.config import read_yaml
from tasks.core.errors import ConfigError


def read_mapping(text: str, origin: str) -> Mapping[str, Any]:
    """The document as a mapping. Raises ConfigError naming `origin`."""
    try:
        data = read_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"{origin}: expected a mapping at the top level")
    return data
