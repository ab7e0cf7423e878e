"""Our ensembles against other ensemble distillation: budgets known, and budgets unknown.

*Known*: whoever runs the model knows the budget and takes the best answer for it. *Unknown*: the
run is interrupted at any moment or asked for a better answer after a coarse one. An ensemble goes
on from where it is; a fleet of single models starts over with each, so its costs add up.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bdistil.study.ablation import areas, comparisons
from bdistil.study.statistics import BUDGETS, Curve, area

ORACLE = "method=oracle"
OURS = "method=ours"


def known(table: pd.DataFrame) -> pd.DataFrame:
    """Area under each method's curve over the oracle's: a row a method, a column a data set."""
    scores = areas(table)
    means = scores.groupby(["data", "cell"], sort=False).area.mean().unstack("data", sort=False)
    return means / means.loc[ORACLE]


def against_oracle(table: pd.DataFrame) -> pd.DataFrame:
    """Every method's share of the teacher's metric against the oracle's, pair by pair."""
    return comparisons(areas(table), ORACLE)


def unknown(table: pd.DataFrame) -> pd.DataFrame:
    """Ours against the fleet where the budget is not known: a row a data set.

    Columns: `ours` and `fleet`, the areas under the curves (means over seeds), `ratio`, and
    `error_ratio`: the mean over budgets of our test error over the mean of the fleet's.
    """
    rows = []
    for data, of_data in table.groupby("data", sort=False):
        found = [pair(run) for _, run in of_data.groupby("seed")]
        ours, fleet, error, fleet_error = np.mean(found, axis=0)
        rows.append(
            {
                "data": data,
                "ours": ours,
                "fleet": fleet,
                "ratio": ours / fleet,
                "error_ratio": error / fleet_error if fleet_error else np.nan,
            }
        )
    return pd.DataFrame(rows)


def pair(run: pd.DataFrame) -> tuple[float, float, float, float]:
    """Areas of ours and the fleet on one data set and seed, and their mean test errors."""
    mine = curve_of(run[run.cell == OURS], "streamed_flops")
    models = curve_of(run[run.cell == ORACLE], "flops")
    lowest = max(mine[0][0], models[0][0])
    highest = max(mine[-1][0], sum(cost for cost, _ in models))
    budgets = np.geomspace(lowest, highest, BUDGETS)
    budgets[0] = lowest
    fleet = best_fleet(models, budgets)
    ours, theirs = area(mine, budgets), area(fleet, budgets)
    return ours, theirs, 1 - ours, 1 - theirs


def curve_of(stages: pd.DataFrame, cost: str) -> Curve:
    """Cost and test metric of each stage."""
    ordered = stages.sort_values("stage")
    return list(zip(ordered[cost], ordered.metric, strict=True))


def best_fleet(models: Curve, budgets: NDArray[np.float64]) -> Curve:
    """The order of single models, run one after another, with the largest area.

    It starts with the cheapest, as every method answers first at that cost. The choice looks at
    the test metric itself, to the fleet's favour.
    """
    first, *others = models
    orders = itertools.chain.from_iterable(
        itertools.combinations(others, count) for count in range(len(others) + 1)
    )
    return max((added_up([first, *order]) for order in orders), key=lambda c: area(c, budgets))


def added_up(models: Sequence[tuple[float, float]]) -> Curve:
    """Costs of models that are run one after another; the last answer counts."""
    costs = itertools.accumulate(cost for cost, _ in models)
    return [(cost, metric) for cost, (_, metric) in zip(costs, models, strict=True)]


def storage(table: pd.DataFrame) -> pd.DataFrame:
    """Parameters and training cost of one ensemble over the fleet's: a row a data set."""
    rows = []
    for data, of_data in table.groupby("data", sort=False):
        ours = of_data[of_data.cell == OURS]
        fleet = of_data[of_data.cell == ORACLE]
        stored = ours.groupby("seed").parameters.max() / fleet.groupby("seed").parameters.sum()
        trained = ours.groupby("seed").trained.max() / fleet.groupby("seed").trained.sum()
        rows.append({"data": data, "parameters": stored.mean(), "training": trained.mean()})
    return pd.DataFrame(rows)


def conclusion(table: pd.DataFrame) -> str:
    """Three sentences, no stronger than the numbers."""
    ratios, blind, cost = known(table), unknown(table), storage(table)
    mine = ratios.loc[OURS]
    rivals = ratios.drop([OURS, ORACLE]).mean(axis=1).sort_values(ascending=False)
    best = rivals.index[0]
    where = f"on {mine.index[0]}"
    if len(mine) > 1:
        where = f"from {mine.min():.3f} on {mine.idxmin()} to {mine.max():.3f} on {mine.idxmax()}"
    return (
        f"With the budget known, one ensemble's area is {mine.mean():.3f} of the matched oracle's "
        f"({where}); the best rival, {best.removeprefix('method=')}, has {rivals.iloc[0]:.3f}. "
        f"With the budget unknown, its area is {blind.ratio.mean():.3f} of the fleet's in its best "
        f"order, and its mean test error {blind.error_ratio.mean():.2f} of the fleet's. It stores "
        f"{cost.parameters.mean():.2f} of the fleet's parameters and costs "
        f"{cost.training.mean():.2f} of its training."
    )
