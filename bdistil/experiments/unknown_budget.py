"""Budgets that nobody knows: a run is interrupted, or asked for a better answer after a coarse one.

An ensemble goes on from where it is; a fleet of single models starts over with each, so that its
costs add up.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bdistil.experiments.statistics import (
    Curve,
    area,
    budgets_of,
    ends,
    log_spaced,
    quotient,
)

OURS = "method=ours"
STREAMING = "method=streaming"
CHOSEN = "method=ours or streaming"
ORACLE = "method=oracle"
STARTING_OVER = (ORACLE, "method=single")
"""Methods whose dearer answers do not go on from cheaper ones."""


def with_choice(table: pd.DataFrame) -> pd.DataFrame:
    """The table and, where both were searched, a method that is ours or `streaming`.

    Each data set and seed has the one with the larger area of its validation metric, at the costs
    of answering all stages.
    """
    if best_blind(table) == OURS:
        return table
    both = table[table.cell.isin([OURS, STREAMING])]
    choices = [better(run) for _, run in both.groupby(["data", "seed"], sort=False)]
    return pd.concat([table, *(each.assign(cell=CHOSEN) for each in choices)], ignore_index=True)


def best_blind(table: pd.DataFrame) -> str:
    """What of ours is for unknown budgets, in :func:`with_choice`'s table."""
    return CHOSEN if {OURS, STREAMING} <= set(table.cell) else OURS


def better(run: pd.DataFrame) -> pd.DataFrame:
    """The stages of the cell with the larger validation area."""
    stages = [of_cell for _, of_cell in run.groupby("cell", sort=False)]
    curves = [curve_of(each, "streamed_flops", "validation") for each in stages]
    areas = [area(curve, budgets_of(curves)) for curve in curves]
    return stages[int(np.argmax(areas))]


def against_fleet(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """A method against the fleet where the budget is not known: a row a data set.

    Columns: `area` and `fleet`, the areas under the curves (means over seeds); `ratio` of them,
    mean over seeds, with `low` and `high` of its 95% interval (of the seeds where the fleet's is
    above 0; NaN if there is none); `error_ratio`: the mean over budgets
    of the method's test error over the mean of the fleet's. Two columns say how much of it starts
    alone can cost the fleet: `level` is the error ratio of a method that answers as well as the
    oracle's models, at its own costs, and `restarts` the same at the oracle's costs.
    """
    rows = []
    for data, of_data in table.groupby("data", sort=False):
        runs = [run for _, run in of_data.groupby("seed") if {method, ORACLE} <= set(run.cell)]
        if not runs:
            continue
        own, level, restarts, fleet = np.transpose([blind_areas(run, method) for run in runs])
        ratio = quotient(own, fleet)
        ratio = ratio[np.isfinite(ratio)]
        rows.append(
            {
                "data": data,
                "area": own.mean(),
                "fleet": fleet.mean(),
                "ratio": ratio.mean() if len(ratio) else float("nan"),
                **ends(ratio),
                "error_ratio": errors(own, fleet),
                "level": errors(level, fleet),
                "restarts": errors(restarts, fleet),
            }
        )
    return pd.DataFrame(rows)


def errors(own: NDArray[np.float64], fleet: NDArray[np.float64]) -> float:
    """Mean test error over the fleet's; NaN if that makes none."""
    return float((1 - own.mean()) / (1 - fleet.mean())) if fleet.mean() < 1 else float("nan")


def error_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Test error over the fleet's of every method that goes on from its earlier answers.

    A row a method, a column a data set.
    """
    methods = [cell for cell in table.cell.unique() if cell not in STARTING_OVER]
    found = [against_fleet(table, method).assign(cell=method) for method in methods]
    return pd.concat(found).pivot_table(
        index="cell", columns="data", values="error_ratio", sort=False
    )


def blind_areas(run: pd.DataFrame, method: str) -> list[float]:
    """Areas on one data set and seed.

    The method's; of the oracle's answers, at the method's costs and at its own; the fleet's.
    """
    own = curve_of(run[run.cell == method], "streamed_flops")
    models = curve_of(run[run.cell == ORACLE], "flops")
    lowest = max(own[0][0], models[0][0])
    highest = max(own[-1][0], sum(cost for cost, _ in models))
    budgets = log_spaced(lowest, highest)
    level = [(cost, metric) for (cost, _), (_, metric) in zip(own, models, strict=False)]
    sides = (own, level, models, best_fleet(models, budgets))
    return [area(curve, budgets) for curve in sides]


def curve_of(stages: pd.DataFrame, cost: str, metric: str = "metric") -> Curve:
    """Cost and metric of each stage."""
    ordered = stages.sort_values("stage")
    return list(zip(ordered[cost], ordered[metric], strict=True))


def best_fleet(models: Curve, budgets: NDArray[np.float64]) -> Curve:
    """The order of single models, run one after another, with the largest area.

    It answers at the lowest budget, as every method does. The choice looks at the test metric
    itself, to the fleet's favour.
    """
    orders = itertools.chain.from_iterable(
        itertools.combinations(models, count) for count in range(1, len(models) + 1)
    )
    in_time = [added_up(order) for order in orders if order[0][0] <= budgets[0]]
    return max(in_time, key=lambda curve: area(curve, budgets))


def added_up(models: Sequence[tuple[float, float]]) -> Curve:
    """Costs of models that are run one after another; the last answer counts."""
    costs = itertools.accumulate(cost for cost, _ in models)
    return [(cost, metric) for cost, (_, metric) in zip(costs, models, strict=True)]
