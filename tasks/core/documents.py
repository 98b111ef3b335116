"""This module reads YAML as plain values: numbers as DVC reads them, and no value that would be misread.

Standard library and PyYAML only, because the orchestrator's environment imports this module.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from tasks.core.errors import ConfigError

DEEPEST = 50
MOST_VALUES = 1_000_000

_FLOAT = "tag:yaml.org,2002:float"
_MERGE = "tag:yaml.org,2002:merge"
# What PyYAML lets through when a value cannot be what its tag or form says, such as the 40th of May.
_UNUSABLE = (ValueError, LookupError, AttributeError, TypeError, OverflowError)


class _Yaml(yaml.CSafeLoader):
    """This loader reads numbers by YAML 1.2, as DVC does: 1e-05 is a number. PyYAML follows 1.1, where it is a text.

    libyaml reads a lock of 70 kB in a fifth of the time that PyYAML's own code takes.
    """


class _YamlText(yaml.CSafeDumper):
    """This dumper puts a text in quotes that would be read as a number."""


for _each in (_Yaml, _YamlText):
    _each.add_implicit_resolver(_FLOAT, re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


class NotPlain(yaml.YAMLError):
    """A part of a YAML document would be read as another value than the one written; the text names the part."""


def read_yaml(text: str | bytes) -> Any:
    """Return the document as plain values. Raises yaml.YAMLError.

    A key that stands twice is refused, as the last one would win in silence; so are numbers that are not finite,
    references in a circle, and more levels or values than anybody writes.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        _check_depth(text)
        loader = _Yaml(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None
            _Inspection(loader).size(root, ())
            return loader.construct_document(root)
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise NotPlain(f"byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except RecursionError:  # by references: each level alone is flat
        raise NotPlain(f"more than {DEEPEST} levels deep; write it flatter") from None
    except _UNUSABLE as error:
        raise NotPlain(f"a value is not what its form or tag says: {error}") from error


def _check_depth(text: str) -> None:
    """Refuse what is nested without end, by its events alone: libyaml's nodes of 100,000 levels end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > 10 * DEEPEST:  # an inspection names the place of what is less deep
                raise NotPlain(f"more than {DEEPEST} levels deep; write it flatter")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def to_yaml(document: Any, *, sort_keys: bool) -> str:
    """Return plain values as a YAML document, by libyaml."""
    text: str = yaml.dump(document, Dumper=_YamlText, sort_keys=sort_keys, allow_unicode=True)
    return text


def read_mapping(text: str | bytes, origin: str) -> Mapping[str, Any]:
    """Return the document as a mapping. Raises ConfigError naming `origin`."""
    try:
        data = read_yaml(text)
    except NotPlain as error:
        raise ConfigError(f"{origin}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"{origin}: expected a mapping at the top level")
    return data


class _Inspection:
    """An inspection checks a document's nodes before values are made: resolving merge keys would hide a double key."""

    def __init__(self, loader: _Yaml) -> None:
        self._loader = loader
        self._sizes: dict[int, int | None] = {}

    def size(self, node: yaml.Node, path: tuple[str, ...]) -> int:
        """Return how many values the node stands for, with the nodes that it refers to. Raises NotPlain."""
        if isinstance(node, yaml.ScalarNode):
            self._check_number(node, path)
            return 1
        if len(path) > DEEPEST:
            raise NotPlain(f"{_place(node, path[:3])}: more than {DEEPEST} levels deep; write it flatter")
        if id(node) not in self._sizes:
            self._sizes[id(node)] = None  # being looked through
            self._sizes[id(node)] = 1 + sum(
                self.size(child, (*path, name)) for name, child in self._children(node, path)
            )
        size = self._sizes[id(node)]
        if size is None:
            raise NotPlain(f"{_place(node, path)}: refers to itself; write the values out")
        if size > MOST_VALUES:
            raise NotPlain(f"{_place(node, path)}: its references stand for more than {MOST_VALUES:,} values")
        return size

    def _children(self, node: yaml.Node, path: tuple[str, ...]) -> list[tuple[str, yaml.Node]]:
        if isinstance(node, yaml.SequenceNode):
            return [(str(number), child) for number, child in enumerate(node.value)]
        first: dict[Any, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise NotPlain(f"{_place(key, path)}: a key must be one word")
            value = key.value if key.tag == _MERGE else self._loader.construct_object(key)
            if value in first:
                raise NotPlain(
                    f"{_place(key, (*path, key.value))}: stands here a second time, the first is in "
                    f"line {first[value].start_mark.line + 1}; remove one"
                )
            first[value] = key
        return [(key.value, child) for key, child in node.value]

    def _check_number(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> None:
        if node.tag == _FLOAT and not math.isfinite(self._loader.construct_object(node)):
            raise NotPlain(f"{_place(node, path)}: {node.value} is not a finite number; write one")


def _place(node: yaml.Node, path: tuple[str, ...]) -> str:
    return f"line {node.start_mark.line + 1}: {'.'.join(path) or 'the document'}"
