"""What a file of this project imports, for tests of its structure."""

import ast
from pathlib import Path


def module_file(name: str, root: Path) -> Path | None:
    """The file of a module or package below `root`; None for what is not ours."""
    base = root.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def imported_names(path: Path) -> set[str]:
    """Dotted names that a file imports, at its top or in a function, with and without the name taken from a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
