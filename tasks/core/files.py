"""This module writes the small files that stages hand to each other, with equal bytes for equal data."""

import json
from pathlib import Path
from typing import Any

RUN_FILE = "run.yaml"


def write_json(path: Path, data: Any) -> None:
    """Write canonical JSON: equal data gives equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read the JSON of a file that another stage wrote."""
    return json.loads(path.read_text())
