"""What a trial was worth, in Optuna's own form."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from bdistil.runs.trial import TrialResult
from bdistil.searching.verdict import clearly_best

Dimensions = Mapping[str, BaseDistribution]
NONE: Dimensions = {}


def standardise(
    results: Iterable[TrialResult], dimensions: Dimensions, conditional: Dimensions = NONE
) -> list[FrozenTrial]:
    """Trials with their gain's distance from the mean of their round and class, in deviations.

    Gains are those in the validation loss or, where answers differ by more than a standard error,
    in the metric, as a round chooses (see :func:`~bdistil.searching.verdict.choose`). One that
    failed is a deviation below the worst of its round and class. Stopped ones have no gain, and
    trials of another search may have values outside of the dimensions: they are left out.
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
    finished = np.array([each.status == "finished" for each in results])
    by_metric = tells_more([each for each in results if each.status == "finished"])
    gains = np.array([each.metric_gain if by_metric else each.gain for each in results])
    values = np.zeros(len(results))
    if gains[finished].size and (scale := gains[finished].std()) > 0:
        values = (gains - gains[finished].mean()) / scale
    values[~finished] = values[finished].min(initial=0.0) - 1
    for result, value in zip(results, values, strict=True):
        excess = (0.0 if by_metric else -result.edge) if result.status == "finished" else 1.0
        own = within(result.request.params, conditional)
        yield in_optunas_form(result, {**dimensions, **own}, float(value), excess)


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
    """A finished trial, with its gain as it is."""
    sampled = within(result.request.params, dimensions)
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
