"""Records on disk."""

import json
from pathlib import Path

import pytest

from bench.files import write


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    with pytest.raises(ValueError, match="Out of range"):
        write(path, {"error": float("nan")})
    assert not path.exists()
    write(path, {"error": 1.5})
    assert json.loads(path.read_text()) == {"error": 1.5} and [file.name for file in path.parent.iterdir()] == [
        path.name
    ]
