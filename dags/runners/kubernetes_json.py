"""This module reads parts of a pod, which an operator writes as JSON, as strictly as the API server does."""

import re
from collections.abc import Mapping
from typing import Any

from kubernetes.client import models

_SIMPLE = {"str": str, "int": int, "bool": bool, "object": object}
_SELECTION = ("In", "NotIn", "Exists", "DoesNotExist")
# The client knows of no enumerations.
_ALLOWED = {
    ("V1Toleration", "operator"): ("Exists", "Equal"),
    ("V1Toleration", "effect"): ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    ("V1NodeSelectorRequirement", "operator"): (*_SELECTION, "Gt", "Lt"),
    ("V1LabelSelectorRequirement", "operator"): _SELECTION,
}


def read(kind: str, value: Any, where: str = "") -> Any:
    """Return the client's object for JSON of a kind such as `V1Affinity`, `list[V1Toleration]` or `dict[str, str]`.

    Raises ValueError that says where it is wrong: an unknown or missing field, another type, or a word that the field
    does not take. The client's own reader drops unknown fields, so a misspelt rule would be no rule.
    """
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        _expect(list, value, where)
        return [read(found[1], item, f"{where}[{number}]") for number, item in enumerate(value)]
    if found := re.fullmatch(r"dict[\[(]str, (.+)[\])]", kind):
        _expect(dict, value, where)
        return {key: read(found[1], item, _below(where, key)) for key, item in value.items()}
    if kind in _SIMPLE:
        _expect(_SIMPLE[kind], value, where)
        return value
    _expect(dict, value, where)
    return _model(kind, value, where)


def _model(kind: str, value: Mapping[str, Any], where: str) -> Any:
    model = getattr(models, kind)
    names = {field: name for name, field in model.attribute_map.items()}
    if unknown := sorted(set(value) - set(names)):
        raise ValueError(f"{_below(where, unknown[0])}: no such field; there are: {', '.join(sorted(names))}")
    for field, item in value.items():
        allowed = _ALLOWED.get((kind, field))
        if allowed and item not in allowed:
            raise ValueError(f"{_below(where, field)}: {item!r} is none of {', '.join(allowed)}")
    fields = {
        names[field]: read(model.openapi_types[names[field]], item, _below(where, field))
        for field, item in value.items()
    }
    try:
        return model(**fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def _expect(kind: type, value: Any, where: str) -> None:
    # True is an int to Python, and not to Kubernetes.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {dict: "an object", list: "a list", str: "a string", int: "a whole number", bool: "true or false"}
        raise ValueError(f"{where + ': ' if where else ''}{value!r} is not {names[kind]}")


def _below(where: str, field: str) -> str:
    return f"{where}.{field}" if where else field
