"""YAML as plain values: what is nested too deep is refused in one line, in whatever way it is."""

import pytest

from tasks.core.documents import DEEPEST, NotPlain, read_yaml, to_yaml

LINKED = ", ".join(["a0: &a0 {k: 1}", *(f"a{place}: &a{place} {{<<: *a{place - 1}}}" for place in range(1, 1250))])


@pytest.mark.parametrize(
    "text", ["[" * 60 + "]" * 60, "[" * 100_000, "{a: " * 100_000, f"c: {{{LINKED}}}\nm: {{<<: *a1249}}"]
)
def test_what_is_nested_too_deep_is_refused(text: str) -> None:
    with pytest.raises(NotPlain, match=rf"more than {DEEPEST} levels deep; write it flatter"):
        read_yaml(text)


def test_what_is_written_is_read_again() -> None:
    document = {"b": [1, 2.5, None, True, "1e-05", "no"], "a": {"long": "word " * 50, "é": "ü"}}
    assert read_yaml(to_yaml(document, sort_keys=False)) == document
    assert list(read_yaml(to_yaml(document, sort_keys=True))) == ["a", "b"]
