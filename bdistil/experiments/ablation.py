"""Which value of a field is better? A designed experiment, its figures and its answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from bdistil.errors import SearchError
from bdistil.experiments.design import label_of
from bdistil.experiments.figures import Figures
from bdistil.experiments.pairs import common, left_out, shares_of
from bdistil.experiments.statistics import (
    Comparison,
    area,
    budgets_of,
    compare,
    corrected,
    share_of,
)
from bdistil.words import counted

SIGNIFICANT = 0.05
STAGE_COLUMNS = (
    "metric", "validation", "flops", "streamed_flops", "parameters", "latency", "latency_ratio",
    "sup_norm", "sup_norm_out_of_fold", "trained", "weak", "edge", "largest_gap", "trials",
    "weak_trials", "rungs", "seconds",
)  # fmt: skip


def curves(found: Sequence[Figures]) -> pd.DataFrame:
    """One row for each stage of each search that found an ensemble.

    Columns: `cell`, one for each varied field, `data`, `seed`, `stage`, `teacher`, `flops_share`
    and what :class:`~bdistil.experiments.figures.Figures` has of a stage.

    Raises:
        SearchError: if no search found one.
    """
    rows: list[dict[str, Any]] = []
    for each in found:
        place = {"cell": label_of(each.cell), **each.cell, "data": each.data, "seed": each.seed}
        for number, stage in enumerate(each.stages, start=1):
            share = stage["flops"] / each.teacher_flops if each.teacher_flops else None
            known = {"stage": number, "teacher": each.teacher, "flops_share": share}
            rows.append(place | known | {name: stage.get(name) for name in STAGE_COLUMNS})
    if not rows:
        reason = next((each.failed for each in found if each.failed), "there was none")
        raise SearchError(f"no search of the experiment found an ensemble: {reason}")
    return pd.DataFrame(rows)


def areas(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each search: `area` under its anytime curve, and `share` of the teacher's metric.

    Budgets are those of the data set, the same for all cells and seeds. The share is NaN where the
    teacher's metric is below 0.05.
    """
    rows = []
    for data, of_data in table.groupby("data", sort=False):
        found = {
            key: list(run.sort_values("stage")[["flops", "metric"]].itertuples(index=False))
            for key, run in of_data.groupby(["cell", "seed"], sort=False)
        }
        budgets = budgets_of(list(found.values()))
        teachers = dict(of_data.groupby("seed").teacher.first().items())
        for (cell, seed), curve in found.items():
            rows.append((data, cell, seed, area(curve, budgets), teachers[seed]))
    scores = pd.DataFrame(rows, columns=["data", "cell", "seed", "area", "teacher"])
    return scores.assign(share=share_of(scores.area, scores.teacher)).drop(columns="teacher")


def best_cell(scores: pd.DataFrame) -> str:
    """The cell with the largest share, mean over data sets of the mean over seeds.

    Of the pairs of data set and seed on which cells can be compared.

    Raises:
        SearchError: if there is no share at all.
    """
    return str(common(scores).groupby("data").mean().mean().idxmax())


def comparisons(scores: pd.DataFrame, reference: str, *, chosen: bool = True) -> pd.DataFrame:
    """Every other cell against the reference, over pairs of data set and seed, best first.

    Columns: `cell` and those of :class:`~bdistil.experiments.statistics.Comparison`; p is corrected
    for the number of pairs of cells.

    Args:
        scores: :func:`areas`.
        reference: a cell; without an answer here it has no comparisons.
        chosen: whether it is the reference because of how it came out. Any pair of cells could then
            have been compared, and p is corrected for all of them.
    """
    wide = shares_of(scores)
    found: dict[tuple[str, str], Comparison] = {}
    cells = [reference, *wide.columns.drop(reference, errors="ignore")]
    wide = wide.reindex(columns=cells)
    for one, other in itertools.combinations(cells, 2):
        if one != reference and not chosen:
            break
        pairs = (wide[other] - wide[one]).dropna()
        if len(pairs):
            data = list(pairs.index.get_level_values("data"))
            found[one, other] = compare(pairs.to_numpy(np.float64), data)
    ps = corrected([each.p for each in found.values()])
    rows = [
        {"cell": other} | asdict(each) | {"p": p}
        for ((one, other), each), p in zip(found.items(), ps, strict=True)
        if one == reference
    ]
    table = pd.DataFrame(rows, columns=["cell", *Comparison.__dataclass_fields__])
    return table.sort_values("difference", ascending=False, ignore_index=True)


def conclusion(scores: pd.DataFrame, against: pd.DataFrame, reference: str) -> str:
    """A few sentences, no stronger than the numbers."""
    own = common(scores)[reference]
    by_data = own.groupby("data").mean()
    pairs, sets, share = len(own), len(by_data), by_data.mean()
    sentences = [
        f"{reference} has the largest area under the anytime curve, {share:.4f} of the teacher's "
        f"metric (mean over {counted(sets, 'data set')}, {counted(pairs, 'search', 'es')})."
    ]
    if against.empty:
        sentences.append("No other cell has an answer there: nothing can be compared with it.")
    worse = against[(against.p < SIGNIFICANT) & (against.high < 0)]
    level = against.drop(worse.index)
    if len(level):
        named = "; ".join(_difference(row) for row in level.itertuples())
        sentences.append(f"These searches do not tell it from: {named}.")
    if len(worse):
        named = "; ".join(_difference(row) for row in worse.itertuples())
        sentences.append(f"Worse: {named}.")
    return " ".join(sentences + left_out(scores))


def _difference(row: Any) -> str:
    p = "< 0.001" if row.p < 0.001 else f"= {row.p:.3f}"
    return f"{row.cell} ({row.difference:+.4f}, 95% interval {bounds(row.low, row.high)}, p {p})"


def bounds(low: float, high: float) -> str:
    """The ends of an interval of differences."""
    return "–" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}"


def table_of(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """For each data set and cell the means over seeds that answer the usual questions."""
    table = table.assign(share=share_of(table.metric, table.teacher))
    last = table.sort_values("stage").groupby(["data", "cell", "seed"], sort=False).last()
    first = table[table.stage == 1].set_index(["data", "cell", "seed"])
    rounds = table.groupby(["data", "cell", "seed"], sort=False)
    searches = pd.DataFrame(
        {
            "area": scores.set_index(["data", "cell", "seed"]).share,
            "first": first.share,
            "last": last.share,
            "flops": last.flops_share,
            "time": last.latency_ratio,
            "sup_norm": last.sup_norm,
            "largest_gap": rounds.largest_gap.max(),
            "weak_trials": rounds.weak_trials.sum() / rounds.trials.sum(),
            "rounds": rounds.size(),
        }
    )
    return searches.groupby(["data", "cell"], sort=False).mean()
