"""Measure an index at the consumer's side: `python -m bench.ranking.index [--size 1000000 …]`, where faiss is.

That is the environment `bench-ranking`. Brute force by numpy stands beside an index of faiss, both by one thread: the
ten best of a catalogue for one user. Vectors and users are made up: 32 normal numbers whose deviation falls with the
root of their place, as the spectrum of learned vectors falls; a user is the mean of ten items and of chance. How many
of the index's lists are read (`nprobe`) is chosen on other users: the fewest with a recall of .95.
"""

import time
from collections.abc import Callable
from typing import Annotated

import faiss
import numpy as np
import typer
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

SIZES = (10**3, 10**4, 10**5, 10**6)
WIDTH, BEST, USERS, RECALL = 32, 10, 200, 0.95
LISTS = {10**3: 16, 10**4: 128, 10**5: 512, 10**6: 1024}
Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


def made(size: int) -> tuple[Floats, Floats, Floats]:
    """Return (size, WIDTH) item vectors, and twice (USERS, WIDTH) vectors of users."""
    rng = np.random.default_rng(0)
    deviation = np.arange(1, WIDTH + 1) ** -0.5
    vectors = (rng.standard_normal((size, WIDTH)) * deviation).astype(np.float32)
    means = vectors[rng.integers(0, size, (2 * USERS, 10))].mean(axis=1)
    users = (means + 0.3 * rng.standard_normal(means.shape) * deviation).astype(np.float32)
    return vectors, users[:USERS], users[USERS:]


def brute(vectors: Floats, user: Floats) -> Codes:
    """Return the places of the best items, the best first."""
    scores = vectors @ user[0]
    best = np.argpartition(scores, -BEST)[-BEST:]
    return best[np.argsort(-scores[best])]


def indexed(vectors: Floats) -> faiss.Index:
    """Return an index of inner products: lists of like vectors, of which a search reads the nearest."""
    size = len(vectors)
    lists = LISTS.get(size, max(1, int(size**0.5)))
    index = faiss.index_factory(WIDTH, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[: 50 * lists])
    index.add(vectors)
    return index


def recall(index: faiss.Index, users: Floats, truth: list[Codes]) -> float:
    """Return the mean share of the best items that the index finds."""
    found = index.search(users, BEST)[1]
    return float(np.mean([len(np.intersect1d(one, other)) / BEST for one, other in zip(found, truth, strict=True)]))


def timed(call: Callable[[Floats], object], users: Floats) -> tuple[float, float]:
    """Return p50 of a call and its mean processor time, in milliseconds."""
    call(users[:1])
    times, start = [], time.process_time()
    for place in range(len(users)):
        begin = time.perf_counter()
        call(users[place : place + 1])
        times.append(time.perf_counter() - begin)
    return 1000 * float(np.median(times)), 1000 * (time.process_time() - start) / len(users)


def line(size: int) -> str:
    """Return a catalogue's line of the table."""
    vectors, chosen_by, users = made(size)
    begun = time.process_time()
    index = indexed(vectors)
    seconds = time.process_time() - begun
    truth = [brute(vectors, user[None]) for user in chosen_by]
    probes = 1
    while probes < index.nlist:
        index.nprobe = probes
        if recall(index, chosen_by, truth) >= RECALL:
            break
        probes *= 2
    index.nprobe = min(probes, index.nlist)
    found = recall(index, users, [brute(vectors, user[None]) for user in users])
    plain = timed(lambda user: brute(vectors, user), users)
    quick = timed(lambda user: index.search(user, BEST), users)
    numbers = f"{plain[0]:.3f} | {plain[1]:.3f} | {quick[0]:.3f} | {quick[1]:.3f} | {found:.3f}"
    return f"| {size:,} | {numbers} | {index.nprobe} of {index.nlist} | {seconds:.1f} |"


def main(
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Items of the catalogue.")] = None,
) -> None:
    """Print a Markdown table."""
    print(
        "| items | brute: p50 ms | CPU ms | index: p50 ms | CPU ms | recall@10 | lists read | made in CPU s |\n"
        + "|---:" * 8
        + "|"
    )
    with threadpool_limits(1):  # of numpy's library and of faiss
        for size in sizes or SIZES:
            print(line(size), flush=True)


if __name__ == "__main__":
    typer.run(main)
