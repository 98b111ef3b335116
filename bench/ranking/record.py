"""This module measures all recommenders on one set by one seed, and describes them in a record."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.ranking.answers import Answer, eases, histories, ours, rows_of, simple
from bench.ranking.exchange import digest
from bench.ranking.intervals import by_user, intervals
from bench.ranking.sets import base_of, night_of_set
from tasks.core.errors import ConfigError, DataError
from tasks.core.files import read_json
from tasks.gates.evaluation_set import EvaluationSet
from tasks.problems.base import Score


def measured(name: str, seed: int, folder: Path, peers: Mapping[str, Path]) -> dict[str, Any]:
    """Run a set's night, the baselines and the peers, each by its own Python, and return the record.

    What has run in `folder` before is taken from there.
    """
    night = night_of_set(name, seed, folder)
    night.compress()
    dataset = histories(night)
    refit = night.context.run.refit is not None
    rows_of(dataset, refit=refit).save(folder / "rows.npz")
    evaluation = EvaluationSet(night.problem, dataset)
    gains, models = {}, {}
    answers = (*simple(dataset).items(), *eases(dataset, refit=refit), *answers_of(folder, seed, peers), *ours(night))
    for model, answer in answers:
        score = evaluation.score(answer.scores)
        gains[model] = 1 - score.loss
        models[model] = _line(score, answer)
    users = dataset.groups[evaluation.rows]
    for model, (interval, ratio) in intervals(gains, users, seed).items():
        models[model] |= {"interval": interval, "released_against": ratio}
    recipe = next(iter(night.context.run.recipes))
    return {
        "set": name,
        "base": base_of(name),
        "seed": seed,
        "rows": len(users),
        "users": len(np.unique(users)),
        "items": dataset.size,
        "density": float((dataset.codes > 0).sum() / (len(np.unique(dataset.users)) * dataset.size)),
        "of_no_item": float((dataset.codes[dataset.asked[evaluation.rows]] == 0).mean()),
        "models": models,
        "by_user": by_user(gains, users),
        "steps": read_json(night.context.artifacts / "candidates" / recipe / "about.json")["history"],
        "seconds": night.seconds(),
        "versions": {library: version(library) for library in ("numpy", "onnxruntime", "torch")},
    }


def _line(score: Score, answer: Answer) -> dict[str, Any]:
    told = {metric: score.metrics[metric] for metric in ("hr_10", "mrr", "coverage")}
    return {"ndcg_10": 1 - score.error, **told, "bytes": answer.size, "seconds": answer.seconds, **answer.about}


def answers_of(folder: Path, seed: int, peers: Mapping[str, Path]) -> Iterator[tuple[str, Answer]]:
    """Yield what peers said of the rows in a folder; what one said of other rows before counts for nothing.

    Raises ConfigError when one cannot run.
    """
    rows = folder / "rows.npz"
    for peer, python in peers.items():
        out = folder / f"{peer}.npy"
        about = out.with_suffix(".json")
        if not about.is_file() or read_json(about).get("rows") != digest(rows):
            options = [f"--rows={rows}", f"--out={out}", f"--seed={seed}"]
            _run([str(python), "-W", "ignore", "-m", "bench.ranking.peers", peer, *options])
        told = read_json(about)
        chosen = {key: told[key] for key in ("settings", "tried", "fit_seconds", "peak_memory_mb")}
        scores = np.load(out, allow_pickle=False)
        if not np.isfinite(scores).all():
            raise DataError(f"{out}: a score is not finite; mend peer {peer}, remove the file and run this again")
        yield peer, Answer(scores, told["bytes"], told["seconds"], chosen)


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{command[0]}: there is no such Python; make it by `make bench-ranking-setup`") from error
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"{' '.join(command)}: ended with {error.returncode}; see above") from error
