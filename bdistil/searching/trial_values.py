"""What a trial was worth, in Optuna's own form."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from bdistil.runs.trial import TrialResult
from bdistil.searching.verdict import clearly_best

Dimensions = Mapping[str, BaseDistribution]
NONE: Dimensions = {}


def standardise(
    results: Iterable[TrialResult], dimensions: Dimensions, conditional: Dimensions = NONE
) -> list[FrozenTrial]:
    """Trials with their gain's distance from the mean of their round and class, in deviations.

    Gains are those in the validation loss or, where answers differ by more than a standard error,
    in the metric, as a round chooses (see :func:`~bdistil.searching.verdict.choose`). One that was
    cut has its distance from the mean at the milestone where that was (see :func:`standing`), but
    is no better than the worst that finished; one that failed is a deviation below that. Stopped
    ones have no gain, and trials of another search may have values outside of the dimensions: they
    are left out.
    Conditional dimensions are those of the trials that have them.
    """

    def place(result: TrialResult) -> tuple[int, int]:
        return result.request.round, result.request.rung

    known = [
        result
        for result in results
        if result.status != "stopped" and lies_within(result.request.params, dimensions)
    ]
    groups = itertools.groupby(sorted(known, key=place), key=place)
    return [
        trial
        for _, group in groups
        for trial in standardise_group([*group], dimensions, conditional)
    ]


def standardise_group(
    results: Sequence[TrialResult], dimensions: Dimensions, conditional: Dimensions = NONE
) -> Iterable[FrozenTrial]:
    """The same for the trials of one round and class."""
    finished = [each for each in results if each.status == "finished"]
    by_metric = tells_more(finished)
    gains = np.array([each.metric_gain if by_metric else each.gain for each in finished])
    told = dict(zip(map(number, finished), deviations(gains), strict=True))
    excess = {number(each): 0.0 if by_metric else -each.edge for each in finished}
    worst, most = min(told.values(), default=0.0), max(excess.values(), default=0.0)
    for each in results:
        if each.status == "cut":  # its edge is not known: as bad as the worst
            told[number(each)], excess[number(each)] = min(worst, standing(each, results)), most
        value, broken = told.get(number(each), worst - 1), excess.get(number(each), 1.0)
        own = within(each.request.params, conditional)
        yield in_optunas_form(each, {**dimensions, **own}, value, broken)


def number(result: TrialResult) -> int:
    """Of a trial in its round."""
    return result.request.number


def deviations(values: NDArray[np.float64]) -> list[float]:
    """Distances from the mean, in standard deviations; zeros if all are the same."""
    scale = values.std() if len(values) else 0.0
    distances: list[float] = (
        (values - values.mean()) / scale if scale > 0 else 0 * values
    ).tolist()
    return distances


def standing(cut: TrialResult, results: Sequence[TrialResult]) -> float:
    """By how many deviations a cut trial was above the mean of all that came to its milestone."""
    last = len(cut.milestones) - 1
    there = [each for each in results if len(each.milestones) > last]
    losses = np.array([each.milestones[last][1] for each in there])
    return deviations(-losses)[there.index(cut)]


def tells_more(finished: Sequence[TrialResult]) -> bool:
    """Whether answers differ by more than chance, so that edges and losses need not be asked."""
    return len(finished) > 0 and len(clearly_best(finished)) < len(finished)


def within(params: Mapping[str, Any], conditional: Dimensions) -> Dimensions:
    """The conditional dimensions that a trial has."""
    return {name: each for name, each in conditional.items() if params.get(name) is not None}


def lies_within(params: Mapping[str, Any], dimensions: Dimensions) -> bool:
    """Whether every dimension has a value that could be sampled."""
    return all(
        params.get(name) is not None and each._contains(each.to_internal_repr(params[name]))
        for name, each in dimensions.items()
    )


def frozen_trial(result: TrialResult, dimensions: Dimensions) -> FrozenTrial:
    """A finished trial, with its gain as it is; a cut one as pruned, with that at its milestone."""
    sampled = within(result.request.params, dimensions)
    if result.status == "cut":
        return optuna.create_trial(
            state=TrialState.PRUNED,
            params={name: result.request.params[name] for name in sampled},
            distributions=dict(sampled),
            value=result.gain,
            intermediate_values={result.epochs: result.gain},
            user_attrs={"round": result.request.round, "number": result.request.number},
        )
    return in_optunas_form(result, sampled, result.gain, -result.edge)


def in_optunas_form(
    result: TrialResult, dimensions: Dimensions, value: float, excess: float
) -> FrozenTrial:
    """A trial of that value; it breaks the constraint on edges by `excess`."""
    return optuna.create_trial(
        params={name: result.request.params[name] for name in dimensions},
        distributions=dict(dimensions),
        value=value,
        constraints={"edge": excess},
        user_attrs={"round": result.request.round, "number": result.request.number},
    )
