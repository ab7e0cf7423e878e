"""Sampling of the space's dimensions by Optuna, repeatable to the bit.

Samplers do not store their random state, so none is kept: each round starts from a study rebuilt
from the journal's trials, and each trial re-seeds the sampler from (seed, round, trial number).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from bdistil.core.seeds import derived_seed
from bdistil.runs.trial import TrialResult
from bdistil.spec import Range, SpaceSpec, Spec
from bdistil.spec.space import COHORT_OWN, DIMENSIONS

History = Callable[[], Iterable[TrialResult]]


class Sampler(Protocol):
    """Proposes values for a trial and learns from the answers."""

    def open_round(self, number: int) -> None:
        """Forget what is not in the journal and prepare for a round."""

    def ask(
        self, round_number: int, number: int, cohort: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """A value for each dimension, for trial `number` of the round.

        `cohort` holds the values of the first member of a cohort that this trial is to join.
        """

    def tell(self, result: TrialResult) -> None:
        """Learn from a trial of the open round."""


def build_sampler(spec: Spec, history: History) -> Sampler:
    """The sampler of `search.algorithm`.

    Args:
        spec: the search.
        history: the finished trials of all closed rounds, in order.
    """
    if spec.search.algorithm == "grid":
        return GridSampler(spec.space)
    return OptunaSampler(spec, history)


def distributions(space: SpaceSpec) -> dict[str, BaseDistribution]:
    """Optuna's distributions of the dimensions that are not constant."""
    found: dict[str, BaseDistribution] = {}
    for name in DIMENSIONS:
        value = getattr(space, name)
        if isinstance(value, Range):
            found[name] = FloatDistribution(value.low, value.high, log=value.log)
        elif isinstance(value, list) and len(value) > 1:
            found[name] = CategoricalDistribution(value)
    return found


def constants(space: SpaceSpec) -> dict[str, Any]:
    """Values of the dimensions that are constant; None where the recipe decides."""
    free = distributions(space)
    values = {name: getattr(space, name) for name in DIMENSIONS if name not in free}
    return {k: v[0] if isinstance(v, list) else v for k, v in values.items()}


class OptunaSampler:
    """TPE or random search; a trial's value is its relative gain, its edge a constraint."""

    def __init__(self, spec: Spec, history: History) -> None:
        self.seed = spec.seed
        self.algorithm = spec.search.algorithm
        self.free = distributions(spec.space)
        self.fixed = constants(spec.space)
        self.history = history
        self.running: dict[int, Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def open_round(self, number: int) -> None:
        """Rebuild the study from the closed rounds."""
        self.running.clear()
        self.study = optuna.create_study(direction="maximize")
        self.study.add_trials([frozen_trial(result, self.free) for result in self.history()])

    def ask(
        self, round_number: int, number: int, cohort: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """A value for each dimension."""
        sampler = self._sampler(derived_seed(self.seed, "ask", round_number, number))
        if cohort is not None:
            sampler = self._fixed({k: cohort[k] for k in self.free if k not in COHORT_OWN}, sampler)
        self.study.sampler = sampler
        trial = self.study.ask(self.free)
        self.running[number] = trial
        return self.fixed | trial.params

    def tell(self, result: TrialResult) -> None:
        """Learn from a finished trial; failed and stopped ones teach nothing."""
        trial = self.running.pop(result.request.number)
        if result.status != "finished":
            self.study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_constraint("edge", -result.edge)
        self.study.tell(trial, result.gain)

    def _fixed(self, values: dict[str, Any], sampler: BaseSampler) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return PartialFixedSampler(values, sampler)

    def _sampler(self, seed: int) -> BaseSampler:
        if self.algorithm == "random":
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, multivariate=True)


def frozen_trial(result: TrialResult, free: dict[str, BaseDistribution]) -> FrozenTrial:
    """A finished trial in Optuna's own form."""
    return optuna.create_trial(
        params={name: result.request.params[name] for name in free},
        distributions=free,
        value=result.gain,
        constraints={"edge": -result.edge},
        user_attrs={"round": result.request.round, "number": result.request.number},
    )


class GridSampler:
    """Every combination of the lists in turn, starting anew in each round."""

    def __init__(self, space: SpaceSpec) -> None:
        self.fixed = constants(space)
        lists: dict[str, Sequence[Any]] = {
            name: d.choices
            for name, d in distributions(space).items()
            if isinstance(d, CategoricalDistribution)
        }
        self.points = [
            dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())
        ]

    def open_round(self, number: int) -> None:
        """Nothing to prepare."""

    def ask(
        self, round_number: int, number: int, cohort: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The grid's next point, from its start again after its end; grids know no cohorts."""
        return self.fixed | self.points[number % len(self.points)]

    def tell(self, result: TrialResult) -> None:
        """Nothing to learn."""
