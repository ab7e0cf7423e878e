"""How busy a number of workers would be with a search, by simulation, and what to change."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bdistil.core.seeds import derived_seed
from bdistil.runs.trial import TrialAnswer, TrialRequest, TrialResult
from bdistil.searching.simulated import SimulatedBackend, SimulatedTrial, simulate
from bdistil.searching.worker_count import tries_of
from bdistil.spec import Spec
from bdistil.words import counted

SPREAD = 0.25
"""Standard deviation of the trials' times, as a share of their mean."""
WEAK = 0.5
"""Share of the candidates that are weak learners."""
BUSY = 0.85
"""Utilisation below which something is to be changed."""
SEARCHES, ROUNDS = 4, 4  # that are simulated; the mean is within a point or two


@dataclass(frozen=True)
class Utilisation:
    """What a search would make of its workers.

    Attributes:
        workers: their number.
        share: of their time that goes into trials.
        round: how long a round takes, in times of one trial.
    """

    workers: int
    share: float
    round: float


class NoValues:
    """A sampler for trials that are not trained."""

    def open_round(self, number: int) -> None:
        """Nothing to learn from."""

    def ask(self, *_: Any) -> dict[str, Any]:
        """No dimension."""
        return {}

    def tell(self, result: TrialResult) -> None:
        """Nothing to learn."""


def expected_utilisation(
    spec: Spec, workers: int, spread: float = SPREAD, weak: float = WEAK
) -> Utilisation:
    """The mean over some simulated searches; the same at each call.

    Args:
        spec: the search; if it leaves its tries open, they follow from `workers`.
        workers: that run trials at the same time.
        spread: of the trials' times (log-normal), see :data:`SPREAD`.
        weak: see :data:`WEAK`.
    """
    spec = with_workers(spec, workers)
    rounds = min(spec.search.most_rounds, ROUNDS)
    search = spec.search.model_copy(update={"rounds": rounds})
    spec = spec.model_copy(update={"search": search})
    backends = []
    for seed in range(SEARCHES):
        plan = _Plan(seed, spread, weak)
        backends.append(SimulatedBackend(workers, plan))
        simulate(spec, NoValues(), backends[-1])
    share = fmean(each.utilisation for each in backends)
    return Utilisation(workers, share, fmean(each.clock for each in backends) / rounds)


@dataclass(frozen=True)
class _Plan:
    """Trials whose time, loss and fate are drawn by their place."""

    seed: int
    spread: float
    weak: float

    def __call__(self, request: TrialRequest) -> SimulatedTrial:
        draw = random.Random(derived_seed(self.seed, "trial", request.round, request.number))
        sigma = math.sqrt(math.log1p(self.spread**2))
        seconds = draw.lognormvariate(-(sigma**2) / 2, sigma)  # of mean 1
        answer = TrialAnswer(
            status="finished", weak=draw.random() < self.weak, loss=draw.random(), gain=0.1
        )
        return SimulatedTrial(seconds, answer)


def with_workers(spec: Spec, workers: int) -> Spec:
    """The spec for so many workers, with its tries decided.

    Where candidates train together though the spec does not say so, there are as many cohorts as
    trials here.
    """
    count = spec.workers.model_copy(update={"count": workers})
    spec = spec.model_copy(update={"workers": count})
    search = spec.search.model_copy(update={"tries_per_class": tries_of(spec)})
    return spec.model_copy(update={"search": search})


def advise(spec: Spec, workers: int) -> list[str]:
    """What is to be expected of so many workers and, if they would often wait, what to change."""
    now = expected_utilisation(spec, workers)
    told = [
        f"{counted(workers, 'worker')} would be busy {now.share:.0%} of the time and a round would "
        f"take about {now.round:.1f} times as long as a trial (simulated: trial times spread by "
        f"{SPREAD:.0%}, every second candidate a weak learner)."
    ]
    if now.share >= BUSY:
        return told
    changes = [
        f"{fields} ({then.share:.0%} busy, a round of {then.round:.1f} trials)"
        for fields, then in _changes(spec, workers)
        if then.share > now.share + 0.02
    ]
    if changes:
        told.append(f"To use the workers better, set {', or '.join(changes)}.")
    return told


def _changes(spec: Spec, workers: int) -> Iterator[tuple[str, Utilisation]]:
    """Settings that may help, and what they would give."""
    search = spec.search
    if search.select == "best":
        every_class = search.model_copy(update={"tries_per_class": None, "trials_per_round": None})
        changed = spec.model_copy(update={"search": every_class})
        tries = with_workers(changed, workers).search.tries
        fields = f"search.tries_per_class={tries}"
        if search.trials_per_round is not None:
            fields += " and search.trials_per_round=null"
        yield fields, expected_utilisation(changed, workers)
    if search.together > 1:
        smaller = search.model_copy(update={"cohort": 1})
        changed = spec.model_copy(update={"search": smaller})
        yield "search.cohort=1", expected_utilisation(changed, workers)
    fewer = workers // 2
    while fewer and (then := expected_utilisation(spec, fewer)).share < BUSY and fewer > 1:
        fewer //= 2
    if fewer:
        yield f"workers.count={fewer}", then
