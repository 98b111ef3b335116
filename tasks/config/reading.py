"""YAML files as mappings, and what is wrong with them in one line."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.core.config import read_yaml
from tasks.core.errors import ConfigError


def explain(origin: str, error: ValidationError) -> ConfigError:
    """One line for what pydantic found: the file, the field, what is wrong and how much more there is."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return ConfigError(f"{origin}: {field}: {first['msg']}, got {first['input']!r:.80}{more}")


def read_mapping(text: str, origin: str) -> Mapping[str, Any]:
    """The document as a mapping. Raises ConfigError naming `origin`."""
    try:
        data = read_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"{origin}: expected a mapping at the top level")
    return data
