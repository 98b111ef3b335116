"""This module names the checked-out commit. Standard library only: images are built before any environment."""

import subprocess
from pathlib import Path


def checkout_commit(project: Path) -> str:
    """Return the commit of a checkout, `-dirty` if files differ from it; `unknown` where there is none."""
    command = ["git", "-C", str(project), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
