"""Sampling of the space's dimensions by Optuna, repeatable to the bit.

Samplers do not store their random state, so none is kept: each round starts from a study rebuilt
from the journal's trials, and each trial re-seeds the sampler from (seed, round, trial number).
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    PartialFixedSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from bdistil.core.seeds import derived_seed
from bdistil.runs.trial import TrialResult
from bdistil.searching.dimensions import (
    conditional_distributions,
    constants,
    dimensions_of_round,
    distributions,
    of_class,
)
from bdistil.searching.grid_sampler import GridSampler
from bdistil.searching.trial_values import standardise
from bdistil.searching.untried import in_untried_part, untried_choice, value_by_chance
from bdistil.spec import Spec
from bdistil.spec.space import COHORT_OWN, WITHOUT_EFFECT_IN_ROUND_1

Trials = Iterable[TrialResult]
History = Callable[[], Trials]
T = TypeVar("T")

FIRST = 5  # trials before anything is learnt from
GOOD = 0.25  # share of the known trials that TPE takes for good ones
MOST_GOOD = 25
UNLIKE_IN_ROUND_1 = ("recipe", *WITHOUT_EFFECT_IN_ROUND_1)
MOST_REMEMBERED = 300  # trials of earlier rounds and other searches; each proposal reads them all


class Sampler(Protocol):
    """Proposes values for a trial and learns from the answers."""

    def open_round(self, number: int) -> None:
        """Forget what is not in the journal and prepare for a round."""

    def ask(
        self,
        round_number: int,
        number: int,
        cohort: dict[str, Any] | None = None,
        rung: int = 0,
    ) -> dict[str, Any]:
        """A value for each dimension, for trial `number` of the round, a student of that rung.

        `cohort` holds the values of the first member of a cohort that this trial is to join.
        """

    def tell(self, result: TrialResult) -> None:
        """Learn from a trial of the open round."""


def build_sampler(spec: Spec, history: History, others: Sequence[Trials] = ()) -> Sampler:
    """The sampler of `search.algorithm`.

    Args:
        spec: the search.
        history: the finished trials of all closed rounds, in order.
        others: those of each run of `search.warm_start`.
    """
    if spec.search.algorithm == "grid":
        return GridSampler(spec.space)
    return OptunaSampler(spec, history, others)


class OptunaSampler:
    """Optuna's samplers on gains that are standardised in their round and class.

    Gains shrink from round to round and grow with the class, so raw ones would say little but in
    which round and class a trial was. In round 1, where every edge is zero and there are no earlier
    students, dimensions that have no effect are not sampled; to the rounds after it, it teaches
    what acts alike there, such as the learning rate. Before anything is preferred, each choice of a
    short list and each quarter of a range is tried once.

    Args:
        spec: the search.
        history: the finished trials of all closed rounds.
        others: those of each search that this one starts from.
    """

    def __init__(self, spec: Spec, history: History, others: Sequence[Trials] = ()) -> None:
        self.seed = spec.seed
        self.algorithm = spec.search.algorithm
        self.space = distributions(spec.space)
        self.options = conditional_distributions(spec.space)
        self.fixed = constants(spec.space)
        self.classes = [name for name, _ in spec.space.rungs]
        self.history = history
        self.others = others
        self.unlike = [name for name in UNLIKE_IN_ROUND_1 if name in self.space]
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def open_round(self, number: int) -> None:
        """Learn from the closed rounds."""
        self.number, self.free = number, dimensions_of_round(self.space, number)
        self.open: dict[int, TrialResult | None] = {}  # None while it runs
        self.asked: dict[int, dict[str, Any]] = {}
        self.past = [] if self.algorithm == "random" else [*chain(*self.remembered(number))]
        self.study: optuna.Study | None = None

    def ask(
        self,
        round_number: int,
        number: int,
        cohort: dict[str, Any] | None = None,
        rung: int = 0,
    ) -> dict[str, Any]:
        """A value for each dimension."""
        draw = random.Random(derived_seed(self.seed, "untried", round_number, number))
        sampler = self._sampler(derived_seed(self.seed, "ask", round_number, number))
        if self.study is None:
            self.study = self._study()
        self.study.sampler = self._held(self.free, cohort, draw, sampler)
        trial = self.study.ask(self.free)
        own = {} if self.classes[rung] is None else {"student": self.classes[rung]}
        values = self.fixed | trial.params | own
        options = of_class(self.options, values["student"])
        self.study.sampler = self._held(options, cohort, draw, sampler)
        for name, dimension in options.items():
            trial.suggest_categorical(name, dimension.choices)
        self.open[number], self.asked[number] = None, trial.params
        idle = dict.fromkeys(self.space.keys() - self.free.keys())
        return values | idle | trial.params

    def remembered(self, number: int) -> list[list[FrozenTrial]]:
        """What a round learns from: of each search that this one starts from, then of its own."""
        free = dimensions_of_round(self.space, number)
        found = [
            standardise(self._told_for(number, source), free, self.options)
            for source in (*self.others, self.history())
        ]
        return last_of(found, MOST_REMEMBERED)

    def _told_for(self, number: int, trials: Trials) -> Trials:
        """What a round learns from: round 1 from its like, the others from all.

        Of a trial of round 1, dimensions that act otherwise there, or not at all, get values by
        chance, so that it says nothing of them.
        """
        for each in trials:
            first = each.request.round == 1
            if first and number > 1:
                draw = random.Random(derived_seed(self.seed, "first round", each.request.number))
                drawn = {name: value_by_chance(self.space[name], draw) for name in self.unlike}
                request = each.request.model_copy(update={"params": each.request.params | drawn})
                yield each.model_copy(update={"request": request})
            elif first == (number == 1):
                yield each

    def _tried(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values of a known trial that were not drawn for it."""
        drawn = self.unlike if trial.user_attrs["round"] == 1 != self.number else ()
        return {name: value for name, value in trial.params.items() if name not in drawn}

    def _held(
        self,
        dimensions: Mapping[str, BaseDistribution],
        cohort: dict[str, Any] | None,
        draw: random.Random,
        sampler: BaseSampler,
    ) -> BaseSampler:
        """The sampler with those values held that a cohort shares or that are still to be tried."""
        shared = () if cohort is None else [name for name in dimensions if name not in COHORT_OWN]
        fixed = {name: cohort[name] for name in shared} if cohort else {}
        own = {name: each for name, each in dimensions.items() if name not in fixed}
        fixed |= self._untried(own, draw)
        return self._fixed(fixed, sampler) if fixed else sampler

    def tell(self, result: TrialResult) -> None:
        """Learn from a finished trial, and from a failed one that its values are bad."""
        self.open[result.request.number] = result
        self.study = None  # all of the round's gains are standardised anew

    def _untried(
        self, dimensions: Mapping[str, BaseDistribution], draw: random.Random
    ) -> dict[str, Any]:
        """Of each dimension a value of what no known trial has tried yet.

        By chance one of three recipes is missing among the first four candidates of each fifth
        search, and all four learning rates lie in the lower half of their range in each sixteenth;
        a round that never saw what is better keeps something worse for good.
        """
        if self.algorithm == "random":
            return {}
        found = {}
        known = [*map(self._tried, self.past), *self.asked.values()]
        for name, dimension in dimensions.items():
            had = [params[name] for params in known if name in params]
            if isinstance(dimension, FloatDistribution):
                value = in_untried_part(dimension, had, draw)
            else:
                assert isinstance(dimension, CategoricalDistribution)
                value = untried_choice(dimension, had, draw)
            if value is not None:
                found[name] = value
        return found

    def _study(self) -> optuna.Study:
        """What is known so far, with the running trials, which others should keep away from."""
        study = optuna.create_study(direction="maximize")
        if self.algorithm == "random":
            return study
        told = [result for result in self.open.values() if result is not None]
        study.add_trials([*self.past, *standardise(told, self.free, self.options)])
        for number, result in self.open.items():
            if result is None:
                params = self.asked[number]
                known = self.free | self.options
                free = {name: known[name] for name in params}
                study.add_trial(
                    optuna.create_trial(state=TrialState.RUNNING, params=params, distributions=free)
                )
        return study

    def _fixed(self, values: dict[str, Any], sampler: BaseSampler) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return PartialFixedSampler(values, sampler)

    def _sampler(self, seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)  # hence Optuna's upper bound
            if self.algorithm == "random":
                return RandomSampler(seed=seed)
            if self.algorithm == "gp":
                return GPSampler(seed=seed)
            return TPESampler(seed=seed, multivariate=True, n_startup_trials=FIRST, gamma=good_ones)


def last_of(groups: Sequence[list[T]], most: int) -> list[list[T]]:
    """Of all that the groups hold in turn, the last ones, group by group."""
    kept: list[list[T]] = []
    for group in reversed(groups):
        kept.insert(0, group[max(0, len(group) - most) :])
        most -= len(kept[0])
    return kept


def good_ones(trials: int) -> int:
    """Of so many trials: Optuna takes a tenth, which of the few of a search is one or two."""
    return min(MOST_GOOD, math.ceil(GOOD * trials))
