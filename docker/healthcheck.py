#!/opt/airflow/bin/python
"""Whether the Airflow component that this container runs is well: asks the server it is, or Airflow's own job table."""

import subprocess
import sys
import urllib.request
from pathlib import Path

PORT = 8080
JOBS = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}


def main() -> int:
    """0: well; anything else: not."""
    arguments = [argument for file in Path("/proc").glob("[0-9]*/cmdline") for argument in _arguments(file)]
    if job := next((JOBS[argument] for argument in arguments if argument in JOBS), None):
        command = ["airflow", "jobs", "check", "--local", "--job-type", job]
        return subprocess.run(command, capture_output=True, check=False).returncode
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v2/version", timeout=10) as answer:
        return int(answer.status != 200)


def _arguments(file: Path) -> list[str]:
    try:
        return file.read_text().split("\0")
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
