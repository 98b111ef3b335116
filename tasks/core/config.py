"""Base classes of typed, frozen configuration."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.core.errors import ConfigError
from tasks.core.params import NAME

Kind = TypeVar("Kind", bound="Frozen")
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


class Frozen(BaseModel):
    """Base of every configuration model: immutable; an unknown key or a number that is not finite is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
        return kinds[spec.kind].model_validate(spec.options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([field, *map(str, first["loc"])])
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where} of kind {spec.kind}: {reason}, got {first['input']!r:.80}") from error
