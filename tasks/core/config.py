"""This module holds the base classes of typed, frozen configuration."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.core.errors import ConfigError
from tasks.core.params import NAME

Kind = TypeVar("Kind", bound="Frozen")
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


class Frozen(BaseModel):
    """Every configuration model has this base: immutable; an unknown key or a non-finite number is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Spec(BaseModel):
    """A spec picks a component by `kind`; its other keys are validated by the component itself."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """Return every key but `kind`."""
        return dict(self.model_extra or {})


@contextmanager
def explained(
    where: str, *, kind: str | None = None, note: str = "", raises: type[Exception] = ConfigError
) -> Iterator[None]:
    """Turn pydantic's errors into one line, here only: the field, what is wrong with it, the given value.

    `where`: the section that the fields belong to, or a file, if it ends with a blank. `kind`: of the component whose
    options they are. `note` is put at the end. Raises ConfigError, or the error class `raises`.
    """
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        field, reason = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        if not field and (named := re.match(r"(\w+): ", reason)):  # a rule of several fields names the one to change
            field, reason = named[1], reason[named.end() :]
        full = f"{where}{field}" if where.endswith(" ") else ".".join(part for part in (where, field) if part)
        of_kind = f" of kind {kind}" if kind else ""
        given = "" if isinstance(first["input"], Mapping) else f", got {first['input']!r:.80}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise raises(f"{full}{of_kind}: {reason}{given}{note}{more}") from error


def pick(spec: Spec, kinds: Mapping[str, type[Kind]], field: str) -> Kind:
    """Build the component of `spec.kind` from the other keys. Raises ConfigError naming the field."""
    if spec.kind not in kinds:
        raise ConfigError(f"{field}.kind: unknown kind {spec.kind!r}; there are: {', '.join(kinds) or 'none'}")
    try:
        component = kinds[spec.kind]
    except ConfigError as error:
        raise ConfigError(f"{field}.kind: {error}") from error
    with explained(field, kind=spec.kind):
        return component.model_validate(spec.options)
