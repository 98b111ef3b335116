"""Peak memory of the stages features, compress and evaluate on many rows and on wide ones.

    python -m tests.sizes [images] [table] [--limit-gib 8]

Each stage is a process of its own. Exit 1 when one of them takes more than the limit.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.sizes.stages import SIZES, STEPS, prepare, step

LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Linux counts what a process was forked from as its own peak: a large parent would be measured, and not its child."""


def main() -> int:
    """Measure, or (for the child processes) be measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", default=list(SIZES), choices=[*SIZES, []])
    parser.add_argument("--limit-gib", type=float, default=8)
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"))
    given = parser.parse_args()
    if given.step:
        name, folder = given.step
        size = SIZES[given.sizes[0]]
        if name == "prepare":
            prepare(Path(folder), size)
        else:
            step(Path(folder), size, name)
        return 0
    worst = 0.0
    for chosen in given.sizes:
        with TemporaryDirectory(prefix="nightstill-sizes-") as folder:
            for name in ("prepare", *STEPS):
                seconds, gib = measured([chosen, "--step", name, folder])
                print(f"{chosen:8} {name:10} {gib:6.2f} GiB {seconds:7.1f} s", flush=True)
                worst = max(worst, 0.0 if name == "prepare" else gib)
    return int(worst > given.limit_gib)


def measured(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak GiB of a child process."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "tests.sizes", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    scale = 2**30 if sys.platform == "darwin" else 2**20
    return time.perf_counter() - begun, int(done.stdout) / scale


if __name__ == "__main__":
    sys.exit(main())
