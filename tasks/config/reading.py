"""What is wrong with a YAML file's fields, in one line."""

from pydantic import ValidationError

from tasks.core.errors import ConfigError


def explain(origin: str, error: ValidationError) -> ConfigError:
    """One line for what pydantic found: the file, the field, what is wrong and how much more there is."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return ConfigError(f"{origin}: {field}: {first['msg']}, got {first['input']!r:.80}{more}")
