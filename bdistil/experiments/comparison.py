"""Our ensembles against other ensemble distillation.

Where the budget is known, whoever runs the model takes the best answer for it; where it is not, see
:mod:`bdistil.experiments.unknown_budget`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bdistil.experiments.ablation import SIGNIFICANT, areas, comparisons
from bdistil.experiments.design import label_of
from bdistil.experiments.figures import Figures
from bdistil.experiments.pairs import PAIR, places, without_share
from bdistil.experiments.statistics import ends, interval, share_of
from bdistil.experiments.unknown_budget import (
    ORACLE,
    OURS,
    STREAMING,
    against_fleet,
    best_blind,
    with_choice,
)

AT_OWN_COSTS = ("method=teacher-exits", "method=teacher-exits-reuse")
"""Methods that do not keep to the budgets: each stage is shown, but no area compared."""


IN_THE_MEAN = ("method=ours-cascade", "method=cascade")
"""Methods that keep to a budget in the mean over examples, and not for every one."""


def within_budgets(table: pd.DataFrame) -> pd.DataFrame:
    """The stages of the methods that keep to the budgets."""
    return table[~table.cell.isin([*AT_OWN_COSTS, *IN_THE_MEAN])]


def in_the_mean(table: pd.DataFrame) -> pd.DataFrame:
    """The stages of ours, the oracle and the methods that keep to budgets in the mean, if any."""
    if table[table.cell.isin(IN_THE_MEAN)].empty:
        return table[:0]
    return table[table.cell.isin([OURS, ORACLE, *IN_THE_MEAN])]


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """The stages on data sets of which ours and the oracle answer a seed in common."""
    ours, oracle = (pairs_of(table, method) for method in (OURS, ORACLE))
    return table[table.data.isin([data for data, _ in ours & oracle])]


def pairs_of(table: pd.DataFrame, method: str) -> set[tuple[str, int]]:
    """The data sets and seeds on which a method has an answer."""
    return set(table[table.cell == method].set_index(PAIR).index)


def incomparable(found: Sequence[Figures], table: pd.DataFrame) -> str:
    """Data sets that :func:`comparable` leaves out, and why, as a sentence; empty if none."""
    failed = {
        each.data: f"{each.data} ({name_of(label_of(each.cell))}: {each.failed.rstrip('.')})"
        for each in found
        if each.failed and label_of(each.cell) in (OURS, ORACLE)
    }
    missing = [failed[data] for data in failed if data not in set(table.data)]
    if not missing:
        return ""
    return f"Left out, as ours and the oracle have no seed in common: {'; '.join(missing)}."


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Every method's area over the oracle's, pair by pair: a row a method, data set and seed.

    Pairs where the oracle's is not above 0 are left out.
    """
    scores = areas(table)
    wide = scores.pivot_table(index=PAIR, columns="cell", values="area", sort=False)
    oracle = wide[ORACLE].where(wide[ORACLE] > 0)
    found = wide.div(oracle, axis=0).melt(ignore_index=False, value_name="ratio")
    return found.dropna(subset="ratio").reset_index()  # methods that failed on a seed


def ratios_of(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """One method's ratios."""
    found = ratios(table)
    return found[found["cell"] == method]


def known(table: pd.DataFrame) -> pd.DataFrame:
    """Area over the oracle's, mean over seeds: a row a method, a column a data set."""
    means = ratios(table).groupby(["data", "cell"], sort=False).ratio.mean()
    return means.unstack("data", sort=False)


def known_by(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """A method's ratio on each data set, with `low` and `high` of its 95% interval over seeds."""
    own = ratios_of(table, method).groupby("data", sort=False).ratio
    rows = [
        {"data": data, "ratio": each.mean(), **ends(each.to_numpy(np.float64)), "seeds": len(each)}
        for data, each in own
    ]
    return pd.DataFrame(rows, columns=["data", "ratio", "low", "high", "seeds"])


def known_in_time(table: pd.DataFrame) -> pd.DataFrame:
    """As :func:`known`, for budgets of seconds; methods and data sets without times are left out.

    Budgets are shares of the teacher's time. A stage has the time of the slowest before it at
    least, as clocks do not always agree that more is slower.
    """
    timed = table.dropna(subset="latency_ratio").astype({"latency_ratio": float})
    timed = timed[timed.data.isin(timed[timed.cell == ORACLE].data)].sort_values("stage")
    if timed.empty:
        return pd.DataFrame()
    slowest = timed.groupby(["data", "cell", "seed"], sort=False).latency_ratio.cummax()
    return known(timed.assign(flops=slowest))


def stages_of(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of each data set, method and stage: share of the teacher's metric, costs.

    Columns: `data`, `method`, `stage`, `metric` (of the teacher's), `FLOPs` and `time` (of the
    teacher's), `microseconds`.
    """
    found = table.assign(
        method=table.cell.map(name_of),
        metric=share_of(table.metric, table.teacher),
        microseconds=table["latency"].astype(float) * 1e6,
    )
    shown = ["metric", "flops_share", "latency_ratio", "microseconds"]
    found = found.astype(dict.fromkeys(shown, float))
    means = found.groupby(["data", "method", "stage"], sort=False)[shown].mean()
    return means.rename(columns={"flops_share": "FLOPs", "latency_ratio": "time"}).reset_index()


def headline(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """By data set and method: mean `area` over seeds and mean `ratio` to the oracle's."""
    both = areas(table).merge(ratios(table), on=["data", "cell", "seed"])
    means = both.groupby(["data", "cell"], sort=False)[["area", "ratio"]].mean().round(4)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in means.reset_index().to_dict("records"):
        figures = {k: row[k] for k in ("area", "ratio")}
        found.setdefault(row["data"], {})[name_of(row["cell"])] = figures
    return found


def name_of(cell: str) -> str:
    """The method of a cell."""
    return cell.removeprefix("method=")


def against(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Every other method's share of the teacher's metric minus the reference's, pair by pair."""
    return comparisons(areas(table), reference, chosen=False)


def storage(table: pd.DataFrame) -> pd.DataFrame:
    """Parameters and training cost of one ensemble over the fleet's: a row a data set.

    `both` is the training of ours and `streaming`, of which one is kept.
    """
    rows = []
    for data, of_data in table.groupby("data", sort=False):
        cells = {cell: stages.groupby("seed") for cell, stages in of_data.groupby("cell")}
        ours, fleet = cells[OURS], cells[ORACLE]
        trained = {
            cell: (runs.trained.max() / fleet.trained.sum()).mean() for cell, runs in cells.items()
        }
        stored = (ours.parameters.max() / fleet.parameters.sum()).mean()
        row = {"data": data, "parameters": stored, "training": trained[OURS]}
        if STREAMING in trained:
            row["both"] = trained[OURS] + trained[STREAMING]
        rows.append(row)
    return pd.DataFrame(rows)


def conclusion(table: pd.DataFrame) -> str:
    """Three sentences, no stronger than the numbers, and one for what no ratio is of."""
    cost = storage(table)
    stored = (
        f"One ensemble stores {cost.parameters.mean():.2f} of the fleet's parameters and costs "
        f"{cost.training.mean():.2f} of its training."
    )
    sentences = [budget_known(table), budget_unknown(table), stored]
    return " ".join([*sentences, *without_ratio(table)])


def budget_known(table: pd.DataFrame) -> str:
    """Ours over the oracle, and the best rival."""
    found = known(table)
    if OURS not in found.index:
        return "With the budget known, no ratio of areas says anything."
    return (
        f"With the budget known, one ensemble's area is {told(table, OURS)} of the matched "
        f"oracle's{spanned(found.loc[OURS].dropna().to_dict())}{rivalled(table)}."
    )


def budget_unknown(table: pd.DataFrame) -> str:
    """Ours, or the better of our two, over the fleet."""
    blind = against_fleet(with_choice(table), best_blind(table))
    area = over(blind.ratio.mean(), 3, "the fleet's in its best order")
    error = over(blind.error_ratio.mean(), 2, "the fleet's")
    return (
        f"With the budget unknown, the area of {name_of(best_blind(table))} {area}, and the mean "
        f"test error {error}."
    )


def over(ratio: float, digits: int, whose: str) -> str:
    """A ratio in words, which may be none."""
    return f"has no ratio to {whose}" if np.isnan(ratio) else f"is {ratio:.{digits}f} of {whose}"


def without_ratio(table: pd.DataFrame) -> list[str]:
    """On which pairs the oracle or the teacher is no better than nothing, in sentences."""
    scores = areas(table)
    low = scores[(scores.cell == ORACLE) & (scores.area <= 0)]
    sentences = []
    if len(low):
        pairs = places(low.set_index(PAIR).index)
        sentences.append(
            f"Ratios of areas leave out {pairs}, where the oracle's is not above 0, as an R² of "
            f"answers no better than the mean."
        )
    return [*sentences, *filter(None, [without_share(scores)])]


def told(table: pd.DataFrame, method: str) -> str:
    """A method's mean ratio over data sets, with the interval over all pairs if they suffice."""
    pairs = ratios_of(table, method).ratio
    low, high = interval(pairs.to_numpy(np.float64))
    mean = f"{known(table).loc[method].mean():.3f}"
    if np.isnan(low):
        return f"{mean} (too few pairs for an interval)"
    return f"{mean} (95% interval {low:.3f} to {high:.3f} over {len(pairs)} pairs)"


def spanned(ratio: Mapping[Any, float]) -> str:
    """From the worst data set to the best."""
    worst, best = (pick(ratio, key=ratio.__getitem__) for pick in (min, max))
    if worst == best:
        return f" on {best}"
    return f", from {ratio[worst]:.3f} on {worst} to {ratio[best]:.3f} on {best}"


def rivalled(table: pd.DataFrame) -> str:
    """The best rival that has an answer on all data sets, and whether it is told from ours."""
    means = (
        known(table)
        .drop([OURS, ORACLE, STREAMING], errors="ignore")
        .mean(axis=1, skipna=False)
        .dropna()
    )
    if means.empty:
        return ""
    best = str(means.idxmax())
    others = against(table, OURS).set_index("cell")
    if best not in others.index:  # no share of the teacher's metric says anything
        return f"; the best rival, {name_of(best)}, has {told(table, best)}"
    row: Any = others.loc[best]
    verdict = "not told apart from ours"
    if row.p < SIGNIFICANT:
        verdict = "better than ours" if row.difference > 0 else "worse than ours"
    return (
        f"; the best rival, {name_of(best)}, has {told(table, best)}, {verdict} (p = {row.p:.3f})"
    )
