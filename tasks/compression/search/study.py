"""This module searches: Optuna proposes points, successive halving decides which of them are worth more training.

Points come from a Gaussian process for the objective and one for each limit: the next is where the expected gain, times
the chance of being within the limits, is largest (Gardner et al., Bayesian Optimization with Inequality Constraints,
2014). With 24 trials on validation windows it found files 9 and 15 % smaller than a tree-structured Parzen estimator
did. The fidelity is fine-tuning: none, one epoch, all (asynchronous successive
halving; Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020). What competes at a rung is the
objective plus the relative violations of the limits, an exact penalty (Nocedal and Wright, Numerical Optimization,
2006, ch. 15.4). Each point is drawn from (seed, number of the trial) and the trials before it, and what it measures
follows from its steps alone, so a search that was killed ends like one that never was.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState
from pydantic import ValidationError

from tasks.compression.chain import Chain, parse_chain
from tasks.compression.options import Recipe, Search
from tasks.compression.recipe import Compressed
from tasks.compression.search.found import Found
from tasks.compression.search.limits import Measured, bounds, violation
from tasks.compression.search.space import Space
from tasks.compression.search.trial import Kept, Memory, Rung, Shelf, Trial, key
from tasks.compression.timing import Latency
from tasks.core.config import Spec

log = logging.getLogger(__name__)

ROUNDS, FINAL_ROUNDS = 5, 15
"""Latency is measured in so many rounds: for every trial, and for the one that is written."""
ATTEMPTS, MODELLED = 20, 2
"""A new point is drawn in so many attempts, and so many of them are left to the processes."""
WORST, LEAST = 1e6, 1e-12
"""These stand for numbers that are not finite, or zero, where Optuna wants a number."""
PLAINER = 3
"""So many trials are built again to see whether they are as good as the best."""
NEAR = 0.005
"""The process sees differences best within this relative distance to a limit."""


@dataclass(frozen=True)
class Task:
    """A Task defines a search and its means.

    `build(chain)`: the student put through a chain, equal chains give equal bytes. `latency(model, rounds)`: of ONNX
    bytes. `better(model, other)`: whether the first one's error is surely the lower, of ONNX bytes on the validation
    split; without it any difference counts. `shelf`: where finished trials are kept. `clock`: seconds, for the ceiling
    `settings.minutes`.
    """

    name: str
    settings: Search
    space: Space
    build: Callable[[Chain], Compressed]
    latency: Callable[[bytes, int], Latency]
    seed: int
    better: Callable[[bytes, bytes], bool] | None = None
    shelf: Shelf = field(default_factory=Memory)
    clock: Callable[[], float] = time.monotonic


def search(task: Task) -> Found:
    """Run the trials and build the best within all limits, measured anew on the bytes that it returns.

    The best is the one with the least `minimise`, of equals the more accurate, the smaller, the earlier. One that was
    within the limits before it was trained to the end is trained so now, and the better of both is taken.

    Where the error is minimised, what was trained for less and cut less takes its place, unless the best is surely
    better: the least of many errors on the same rows is low by chance too (the rule of one standard error, Breiman et
    al., Classification and Regression Trees, 1984, ch. 3.4.3).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    hunt = _Hunt(task)
    cut = hunt.run()
    return hunt.found(cut)


class _Hunt:
    """A hunt is one search under way."""

    def __init__(self, task: Task) -> None:
        self.task, self.settings = task, task.settings
        student = task.build(Chain((), ()))
        self.student = measure(student, task.latency(student.model, ROUNDS))
        self.limits = bounds(self.settings.limits, self.student)
        self.seed = task.seed if self.settings.seed is None else self.settings.seed
        facts = f"{task.name} {self.settings.model_dump_json()} {task.space} seed={self.seed}"
        self.fingerprint = hashlib.sha256(facts.encode() + student.model).hexdigest()
        self.distributions: dict[str, BaseDistribution] = {
            item.name: IntDistribution(0, len(item.values) - 1)
            if item.ordered
            else CategoricalDistribution(range(len(item.values)))
            for item in task.space.dimensions
        }
        self.study = optuna.create_study(
            study_name=task.name,
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=1, reduction_factor=self.settings.reduction, min_early_stopping_rate=0
            ),
        )
        self.trials: list[Trial] = []
        self.best: Trial | None = None

    def run(self) -> bool:
        """Run all trials that are not kept yet. Returns whether the clock cut them off."""
        for former in self.kept():
            self.study.add_trial(self.frozen(former))
            self.take(former)
        if self.trials:
            log.info("%s: continues after %d kept trials", self.task.name, len(self.trials))
        spent = sum(trial.seconds for trial in self.trials)
        start = self.task.clock()
        while len(self.trials) < self.settings.trials:
            if spent + self.task.clock() - start >= 60 * self.settings.minutes:
                log.warning(
                    "%s: stopped by the clock after %d of %d trials; on a faster machine the result may differ",
                    self.task.name,
                    len(self.trials),
                    self.settings.trials,
                )
                return True
            trial = self.next()
            if trial is None:
                log.info("%s: nothing new to try after %d trials", self.task.name, len(self.trials))
                break
            kept = Kept(fingerprint=self.fingerprint, trial=trial)
            self.task.shelf.write(key(trial.number), kept.model_dump_json().encode())
            self.take(trial)
            within = violation(self.limits, trial.measured) == 0
            note = ", the best so far" if trial is self.best else ", within all limits" if within else ""
            log.info("%s: trial %d/%d: %s%s", self.task.name, trial.number + 1, self.settings.trials, trial, note)
        return False

    def kept(self) -> Sequence[Trial]:
        """Return trials of this very search on the shelf, from the first without a gap."""
        found: list[Trial] = []
        for number in count():
            try:
                kept = Kept.model_validate_json(self.task.shelf.read(key(number)))
            except KeyError:
                break
            except ValidationError:
                log.warning("%s: a kept trial cannot be read; the search goes on from there", self.task.name)
                break
            if kept.fingerprint != self.fingerprint:
                log.warning("%s: the kept trials belong to another search; this one starts anew", self.task.name)
                break
            found.append(kept.trial)
        return found[: self.settings.trials]

    def take(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.best = next(iter(self.ranked()), None)

    def ranked(self) -> list[Trial]:
        """Return the trials within all limits, best first."""
        within = [trial for trial in self.trials if violation(self.limits, trial.measured) == 0]
        return sorted(within, key=self.rank)

    def rank(self, trial: Trial) -> tuple[float, float, int, int]:
        measured = trial.measured
        return self.objective(measured), measured.error, measured.bytes, trial.number

    def objective(self, measured: Measured) -> float:
        name = {"latency": "latency_ratio"}.get(self.settings.minimise, self.settings.minimise)
        return float(getattr(measured, name))

    def value(self, measured: Measured) -> float:
        """Return the number that the process models: the logarithm, as savings are relative."""
        return math.log(max(LEAST, min(self.objective(measured), WORST)))

    def score(self, measured: Measured) -> float:
        """Return the number that competes at a rung: objective relative to the student's, plus violations."""
        score = self.objective(measured) / self.objective(self.student) + violation(self.limits, measured)
        return min(score, WORST) if math.isfinite(score) else WORST

    def next(self) -> Trial | None:
        """Ask for a point, try it, and tell. None when hardly a point is left that was not tried."""
        asked = self.ask()
        if asked is None:
            return None
        start = self.task.clock()
        trial = self.tried(asked)
        for bound in self.limits:
            asked.set_constraint(bound.name, math.asinh(min(bound.excess(trial.measured), WORST) / NEAR))
        # Of a pruned one too all is known that the process asks for, if at fewer epochs.
        told = self.study.tell(asked, self.value(trial.measured))
        return trial.model_copy(
            update={
                "seconds": self.task.clock() - start,
                "reported": dict(told.intermediate_values),
                "notes": dict(told.system_attrs),
            }
        )

    def ask(self) -> optuna.Trial | None:
        """Return a point whose steps no trial had, from the processes or, should they repeat themselves, by chance."""
        number, tried = len(self.trials), [trial.steps for trial in self.trials]
        openers = self.task.space.openers()[: max(1, self.settings.trials // 2)]
        for attempt in range(ATTEMPTS):
            seed = int(np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)[0])
            self.study.sampler = (
                optuna.samplers.GPSampler(seed=seed, n_startup_trials=max(4, self.settings.trials // 4))
                if attempt < MODELLED
                else optuna.samplers.RandomSampler(seed)
            )
            if number < len(openers) and not attempt:
                self.study.enqueue_trial(openers[number])
            asked = self.study.ask(self.distributions)
            if self.task.space.steps(asked.params) not in tried:
                return asked
            self.study.tell(asked, state=TrialState.FAIL)
        return None

    def tried(self, asked: optuna.Trial) -> Trial:
        """Climb the rungs until the limits are met (unless the error is minimised), or it is pruned."""
        steps = self.task.space.steps(asked.params)
        chain = self.chain(steps)
        ladder = rungs(chain)
        climbed: list[Rung] = []
        timed: Latency | None = None
        state: Literal["complete", "pruned"] = "complete"
        for rung, epochs in enumerate(ladder):
            capped = limited(chain, epochs)
            result = self.task.build(capped)
            timed = timed or self.task.latency(result.model, ROUNDS)  # training changes weights, not their number
            measured = measure(result, timed)
            climbed.append(
                Rung(
                    epochs=epochs,
                    spent=epochs_of(capped),
                    error=measured.error,
                    bytes=measured.bytes,
                    parameters=measured.parameters,
                    parity=measured.parity,
                )
            )
            enough = self.settings.minimise != "error" and violation(self.limits, measured) == 0
            if enough or epochs == ladder[-1]:
                break
            if self.hopeless(measured) or self.loses(asked, measured, rung):
                state = "pruned"
                break
        assert timed is not None
        return Trial(
            number=len(self.trials),
            point=dict(asked.params),
            steps=steps,
            state=state,
            rungs=tuple(climbed),
            full=epochs_of(chain),
            latency_ratio=timed.ratio_p50,
            p50_us=timed.p50_us,
            seconds=0,
        )

    def hopeless(self, measured: Measured) -> bool:
        """Return whether it is over limits that training cannot change, or would not win within them either."""
        stuck = any(not bound.trained and bound.excess(measured) > 0 for bound in self.limits)
        if self.best is None or self.settings.minimise == "error":
            return stuck
        return stuck or self.objective(measured) >= self.objective(self.best.measured)

    def loses(self, asked: optuna.Trial, measured: Measured, rung: int) -> bool:
        """Return whether it loses against the trials that were at this rung before."""
        asked.report(self.score(measured), self.settings.reduction**rung)
        return asked.should_prune()

    def frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        """Return a kept trial as Optuna knew it."""
        return optuna.trial.create_trial(
            state=TrialState.COMPLETE,
            value=self.value(trial.measured),
            params=dict(trial.point),
            distributions=self.distributions,
            system_attrs=trial.notes,
            intermediate_values=trial.reported,
        )

    def chain(self, steps: tuple[Spec, ...]) -> Chain:
        return parse_chain(self.task.name, Recipe(steps=steps))

    def found(self, cut: bool) -> Found:
        """Build the best, and the next best should the final measurement refuse it."""
        found = Found(self.settings, self.limits, self.student, tuple(self.trials), cut)
        refused: dict[int, Measured] = {}
        for trial in self.ranked():
            chain = self.chain(trial.steps)
            finals = [
                self.final(limited(chain, epochs)) for epochs in sorted({trial.rungs[-1].epochs, rungs(chain)[-1]})
            ]
            within = [final for final in finals if violation(self.limits, final.measured) == 0]
            if within:
                best = min(within, key=lambda final: (self.objective(final.measured), final.measured.error))
                chosen, best = self.plainer(trial, best)
                return replace(found, chosen=chosen, result=best.result, latency=best.latency, refused=refused)
            refused[trial.number] = finals[0].measured
        return replace(found, refused=refused)

    def plainer(self, best: Trial, built: "_Final") -> tuple[Trial, "_Final"]:
        """Return the trial within the limits that changes the student least, if the best is not surely better."""
        better = self.task.better
        if self.settings.minimise != "error" or better is None:
            return best, built
        less = [trial for trial in self.ranked() if plainer(trial, best)]
        for trial in sorted(less, key=lambda trial: (*changes(trial), -trial.measured.bytes))[:PLAINER]:
            final = self.final(limited(self.chain(trial.steps), trial.rungs[-1].epochs))
            within = violation(self.limits, final.measured) == 0
            if within and not better(built.result.model, final.result.model):
                log.info(
                    "%s: trial %d is as good as %d, and plainer", self.task.name, trial.number + 1, best.number + 1
                )
                return trial, final
        return best, built

    def final(self, chain: Chain) -> "_Final":
        result = self.task.build(chain)
        latency = self.task.latency(result.model, FINAL_ROUNDS)
        return _Final(result, latency, measure(result, latency))


@dataclass(frozen=True)
class _Final:
    """A final result holds bytes that may be written, and their measurements."""

    result: Compressed
    latency: Latency
    measured: Measured


def measure(result: Compressed, latency: Latency) -> Measured:
    """Return a candidate's measurements. The error is that of its bytes on the validation split."""
    return Measured(
        error=result.error,
        bytes=len(result.model),
        parameters=result.parameters,
        parity=result.parity.relative,
        latency_ratio=latency.ratio_p50,
    )


def changes(trial: Trial) -> tuple[int, int]:
    """Return how much a trial changes the student: epochs of training, and less the weights that it leaves."""
    last = trial.rungs[-1]
    return last.spent, -last.parameters


def plainer(trial: Trial, other: Trial) -> bool:
    """Return whether a trial changes the student less than another, and in no respect more."""
    one, two = changes(trial), changes(other)
    return one != two and all(less <= more for less, more in zip(one, two, strict=True))


def rungs(chain: Chain) -> list[int]:
    """Return the epochs a step at each rung: none, one, all."""
    most = max((getattr(step, "epochs", 0) for step in (*chain.before_export, *chain.after_export)), default=0)
    return sorted({0, min(1, most), most})


def epochs_of(chain: Chain) -> int:
    """Return the epochs of fine-tuning of all steps, at most."""
    return sum(getattr(step, "epochs", 0) for step in (*chain.before_export, *chain.after_export))


def limited(chain: Chain, epochs: int) -> Chain:
    """Return the chain with at most `epochs` of fine-tuning a step."""
    steps = (step.model_copy(update={"epochs": min(step.epochs, epochs)}) for step in chain.before_export)
    return replace(chain, before_export=tuple(steps))
