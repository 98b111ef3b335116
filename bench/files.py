"""This module writes a record as a JSON file that stands whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, record: dict[str, Any]) -> None:
    """Write it as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n")
    draft.replace(path)
