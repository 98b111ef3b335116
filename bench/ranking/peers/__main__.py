"""Run a peer on the rows of a night: `python -m bench.ranking.peers rectools-sasrec --rows FILE --out FILE`.

It runs in the environment `bench-ranking`; `python -m bench.ranking` calls it. OUT gets the scores of the test rows,
beside it a JSON file with what was chosen, and of which rows.
"""

import resource
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import typer

from bench.files import write
from bench.processes import program
from bench.ranking.exchange import digest, load
from bench.ranking.peers import PEERS, get_peer


def main(
    peer: Annotated[str, typer.Argument(help=f"Of {', '.join(PEERS)}.")],
    rows: Annotated[Path, typer.Option(help="What `python -m bench.ranking` wrote.")],
    out: Annotated[Path, typer.Option(help="File of the scores, .npy.")],
    seed: Annotated[int, typer.Option(help="Of everything by chance.")] = 0,
) -> None:
    """Choose on validation rows, and score the test rows."""
    fit_predict = get_peer(peer)
    begun = process_time()
    result = fit_predict(load(rows), seed)
    about = {
        "rows": digest(rows),
        "bytes": result.size,
        "settings": dict(result.settings),
        "tried": dict(result.tried),
        "fit_seconds": result.fit_seconds,
        "seconds": process_time() - begun,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }
    np.save(out, result.scores)
    write(out.with_suffix(".json"), about)


if __name__ == "__main__":
    program(main)
