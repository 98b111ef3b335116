"""This measures what one thing of the scoring service costs its requests: two services, one with it, asked in turns.

    python -m infra.testing.load_pairs drift [--rounds 20] [--seconds 1] [--connections 1] [--workload sales]
        [--table rows.json --as-of 2026-11-28]

`drift`: a release with its profile.json against the same without; `requests`: with NIGHTSTILL_SERVING_KEEP_REQUESTS
against without. Runs in the serving environment. Each round asks both, the first of them changing; the ratios of a
round share the machine's mood, so their median says more than two loads one after the other. `equal` compares two equal
services: what the ratio is worth here.
"""

import argparse
import asyncio
import json
import os
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import uvloop

from infra.local.environments import PROJECT
from infra.testing.load import OUTPUT, Asked, Connection, Figures, load, publish, publish_small, requests, service
from serving.client import Champion
from serving.client.release import PROFILE
from tasks.core.storage import open_store
from tasks.releases.store import ReleaseStore

WHAT = ("drift", "requests", "equal")


def main() -> int:
    """Print the ratios. Returns 1 if any request was not answered with 200."""
    parser = argparse.ArgumentParser(prog="load_pairs", description="What a part of the service costs its requests")
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load, after one that does not count")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs=1, default=[1])
    parser.add_argument("--workload", help="the champion of NIGHTSTILL_RELEASE_STORE instead of a made one")
    parser.add_argument("--table", type=Path, help="rows of the --workload's own table, for /v1/score")
    parser.add_argument("--as-of", help="last day whose values are known")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workload = arguments.workload or "small"
        stores = copies(folder, arguments.workload, profile_of_second=arguments.what != "drift")
        model = Champion.open(stores[0], workload, cache=folder / "cache").model
        keep = {"SERVING_KEEP_REQUESTS": str(folder / "kept")} if arguments.what == "requests" else {}
        with (
            service(stores[0], workload, folder / "cache0", **keep) as first,
            service(stores[1], workload, folder / "cache1") as second,
        ):
            found = [(request, in_turns((first, second), request, arguments)) for request in requests(model, arguments)]
    for request, rounds in found:
        print(line(request, arguments.what, rounds))
    return 0 if all(set(one.answers) == {200} for _, rounds in found for pair in rounds for one in pair) else 1


def copies(folder: Path, workload: str | None, *, profile_of_second: bool) -> tuple[str, str]:
    """Publish a release into two stores: the champion of a workload, or a small one. The first has its profile."""
    store = os.environ.get("NIGHTSTILL_RELEASE_STORE") or str(PROJECT / ".nightstill" / "releases")
    if workload is None:
        store = str(folder / "made")
        publish_small(store)
    releases = ReleaseStore(open_store(store), workload or "small")
    entry = releases.release()
    files = {file: releases.read(entry, file) for file in releases.files(entry)}
    if workload is None:
        numbers = {"missing": 0.0, "quantiles": np.linspace(-1, 1, 200).tolist(), "shares": None}
        outputs = {f"output {place}": numbers for place in range(OUTPUT[-1])}
        files[PROFILE] = json.dumps({"inputs": {}, "predictions": outputs}).encode()
    first, second = str(folder / "first"), str(folder / "second")
    publish(first, files, workload or "small")
    publish(
        second,
        {name: data for name, data in files.items() if profile_of_second or name != PROFILE},
        workload or "small",
    )
    return first, second


def in_turns(ports: tuple[int, int], request: Asked, arguments: Namespace) -> list[tuple[Figures, Figures]]:
    """Return the figures of both services in each round."""
    rounds = []
    for port in ports:  # the first request of all loads the features
        asyncio.run(once(port, request))
    for number in range(arguments.rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        both: dict[int, Figures] = {}
        for place in order:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                both[place] = runner.run(load(ports[place], request, arguments.connections, arguments.seconds))
        rounds.append((both[0], both[1]))
    return rounds


async def once(port: int, request: Asked) -> None:
    """Ask once."""
    connection = await Connection.open(port)
    await connection.post(request.path, request.form, request.body)
    connection.close()


def line(request: Asked, what: str, rounds: Sequence[tuple[Figures, Figures]]) -> str:
    """Say the medians of the rounds' ratios with / without, and the middle half of them."""
    said = []
    for name in ("p50", "p99"):
        ratios = [getattr(with_it, name) / getattr(without, name) for with_it, without in rounds]
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        said.append(f"{name} × {middle:.3f} ({low:.3f} to {high:.3f})")
    asked = sum(sum(one.answers.values()) for pair in rounds for one in pair)
    form = request.form.rpartition("/")[2]
    return f"{what}, {request.path} {form}: {', '.join(said)}; {len(rounds)} rounds, {asked:,} requests"


if __name__ == "__main__":
    raise SystemExit(main())
