"""Base classes of typed, frozen configuration, and YAML as DVC reads it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.core.errors import ConfigError

Kind = TypeVar("Kind", bound="Frozen")
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


class _Yaml(yaml.SafeLoader):
    """Reads numbers by YAML 1.2, as DVC does: 1e-05 is a number. For PyYAML alone, which follows 1.1, it is a text."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(text: str | bytes) -> Any:
    """The document as plain values. Raises yaml.YAMLError."""
    return yaml.load(text, _Yaml)  # noqa: S506 a safe loader


class Frozen(BaseModel):
    """Base of every configuration model: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Spec(BaseModel):
    """A component picked by `kind`; its other keys are validated by the component itself."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """Every key but `kind`."""
        return dict(self.model_extra or {})


def pick(spec: Spec, kinds: Mapping[str, type[Kind]], field: str) -> Kind:
    """The component of `spec.kind`, made of the other keys. Raises ConfigError naming the field."""
    if spec.kind not in kinds:
        raise ConfigError(f"{field}.kind: unknown kind {spec.kind!r}; there are: {', '.join(kinds) or 'none'}")
    try:
        component = kinds[spec.kind]
    except ConfigError as error:
        raise ConfigError(f"{field}.kind: {error}") from error
    try:
        return component.model_validate(spec.options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([field, *map(str, first["loc"])])
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where} of kind {spec.kind}: {reason}, got {first['input']!r:.80}") from error
