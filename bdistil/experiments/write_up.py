"""An experiment on paper: raw figures, tables, plots and a README with the answer."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bdistil.errors import SearchError
from bdistil.experiments import comparison
from bdistil.experiments.ablation import (
    areas,
    best_cell,
    bounds,
    comparisons,
    conclusion,
    curves,
    table_of,
)
from bdistil.experiments.design import label_of
from bdistil.experiments.environment import environment_in_words
from bdistil.experiments.figures import Figures
from bdistil.experiments.statistics import LEAST_TEACHER
from bdistil.experiments.unknown_budget import (
    ORACLE,
    OURS,
    against_fleet,
    best_blind,
    error_ratios,
    with_choice,
)
from bdistil.report.plots import cells_plot, times_plot
from bdistil.store.durable import write_atomic

CURVES_FILE = "curves.parquet"
HEADERS = {
    "area": "area",
    "first": "first stage",
    "last": "last stage",
    "flops": "FLOPs",
    "time": "time",
    "sup_norm": "max abs F-g",
    "largest_gap": "largest G",
    "weak_trials": "weak learners",
    "rounds": "rounds",
}
EXPLANATION = """\
*Area*, *first* and *last stage* are shares of the teacher's test metric: the mean over 25
log-spaced budgets of FLOPs, the same for all cells of a data set, and the first and the last stage.
*FLOPs* and *time* (one example, one thread) of the last stage are shares of the teacher's. *max abs
F-g* is of the last stage on the training split, *largest G* the largest |f-g| of an accepted
student, *weak learners* the share of trials that were. Differences of areas are paired by data set
and seed; intervals by bootstrap (BCa, 95%), p by Wilcoxon's signed-rank test after Holm's
correction for all pairs of cells, effect is Cohen's d_z. The reference, to which *minus the best*
refers on each data set too, is the cell that came out best over all, which flatters it.
"""


def write_up(found: Sequence[Figures], folder: Path, title: str) -> str:
    """Write ``curves.parquet``, ``comparisons.parquet``, plots and ``README.md``.

    Args:
        found: the searches' figures.
        folder: of the experiment.
        title: the question.

    Returns:
        The conclusion.

    Raises:
        SearchError: if no search found an ensemble, or no share of a teacher says anything.
    """
    table = curves(found)
    write_parquet(table, folder / CURVES_FILE)
    scores = areas(table)
    reference = best_cell(scores)
    against = comparisons(scores, reference)
    answer = conclusion(scores, against, reference)
    if failed := [each for each in found if each.failed]:
        answer += f" {len(failed)} of {len(found)} searches found no ensemble: {failed[0].failed}"
    write_parquet(against, folder / "comparisons.parquet")
    for data in table.data.unique():
        write_atomic(folder / f"curves-{data}.svg", cells_plot(table, data).encode())
    readme = page(title, answer, table, scores, against, how_measured(table, found))
    write_atomic(folder / "README.md", readme.encode())
    return answer


def write_comparison(found: Sequence[Figures], folder: Path, title: str) -> str:
    """Write a comparison of methods as :func:`write_up` does; returns the conclusion.

    Raises:
        SearchError: if ours and the oracle have no data set and seed in common that both answer.
    """
    everything = curves(found)
    table = comparison.within_budgets(everything)
    for method in (OURS, ORACLE):
        if method not in set(table.cell):
            reason = next(each.failed for each in found if label_of(each.cell) == method)
            raise SearchError(f"there is nothing to compare, since {method} failed: {reason}")
    table = comparison.comparable(table)
    missing = comparison.incomparable(found, table)
    if table.empty:
        raise SearchError(f"there is nothing to compare. {missing}")
    answer = " ".join(filter(None, [comparison.conclusion(table), missing]))
    if failed := [each for each in found if each.failed]:
        have = "has" if len(failed) == 1 else "have"
        answer += f" {len(failed)} of {len(found)} runs {have} no answer: {failed[0].failed}"
    write_parquet(everything, folder / CURVES_FILE)
    everything = everything[everything.data.isin(table.data)]
    for data in table.data.unique():
        write_atomic(folder / f"curves-{data}.svg", cells_plot(everything, data).encode())
    timed = everything[everything.teacher >= LEAST_TEACHER].dropna(subset="latency_ratio")
    clocks = [data for data in table.data.unique() if data in set(timed.data)]
    for data in clocks:
        write_atomic(folder / f"times-{data}.svg", times_plot(timed, data).encode())
    blind, one = with_choice(table), best_blind(table)
    shown = with_mean(comparison.known(table)).sort_values("mean", ascending=False).reset_index()
    parts = [
        f"# {title}",
        answer,
        "## Budget known: area over the matched oracle's",
        markdown(shown),
        "## Ours over the matched oracle's, by data set",
        markdown(comparison.known_by(table, OURS)),
        "## Others minus ours, pair by pair (share of the teacher's metric)",
        markdown(against_shown(comparison.against(table, OURS))),
        f"## Budget unknown: {comparison.name_of(one)} against the fleet in its best order",
        markdown(against_fleet(blind, one)),
        "## Budget unknown: every method's test error over the fleet's",
        markdown(with_mean(error_ratios(blind)).sort_values("mean").reset_index()),
        "## Storage and training, as shares of the fleet's",
        markdown(comparison.storage(table)),
        *in_cascade(comparison.in_the_mean(everything)),
        *by_the_clock(table, everything),
        *(f"![share of the teacher's time](times-{data}.svg)" for data in clocks),
        *(f"![anytime curves](curves-{data}.svg)" for data in table.data.unique()),
        how_measured(table, found),
    ]
    write_atomic(folder / "README.md", ("\n\n".join(parts) + "\n").encode())
    write_atomic(folder / "areas.json", json.dumps(comparison.headline(table), indent=2).encode())
    return answer


CLOCK = """\
Times are medians of one example in torch, one thread, by turns in random order within one process
with the teacher's; each stage runs in the way that is fastest there (folded heads, layers stacked
or one by one). *time* is the share of the teacher's in that process, *FLOPs* that of its FLOPs."""


def in_cascade(table: pd.DataFrame) -> list[str]:
    """Cascades over the oracle, for budgets of FLOPs and of time; nothing without them."""
    if table.empty:
        return []
    parts = ["## Leaving when sure: budgets kept in the mean, area over the matched oracle's"]
    for words, ratios in (
        ("Budgets of FLOPs:", comparison.known(table)),
        ("Budgets of time:", comparison.known_in_time(table)),
    ):
        if len(ratios):
            shown = with_mean(ratios).sort_values("mean", ascending=False).reset_index()
            parts += [words, markdown(shown)]
    return [*parts, CASCADES]


CASCADES = """\
A cascade asks its next model where the one before is not sure enough: four at most, maybe the
teacher as the last. It spends less on easy examples and more on hard ones, so it stands beside
cascades, and not beside what keeps to a budget for every example (*ours*, *oracle*). Models and
probability are chosen on validation, costs are means over the test split. The time of our stages is
that of going straight to where an example leaves."""


def by_the_clock(table: pd.DataFrame, everything: pd.DataFrame) -> list[str]:
    """The comparison again with budgets of time instead of FLOPs, and what every stage takes.

    Args:
        table: of the methods that keep to the budgets.
        everything: of all methods.
    """
    parts = []
    in_time = comparison.known_in_time(table)
    if len(in_time):
        shown = with_mean(in_time).sort_values("mean", ascending=False).reset_index()
        title = "## Budget of time known: area over the matched oracle's"
        parts += [title, markdown(shown)]
    return [*parts, "## Every stage", CLOCK, markdown(comparison.stages_of(everything))]


def with_mean(table: pd.DataFrame) -> pd.DataFrame:
    """With a first column: the mean over the data sets, if there is a figure for each."""
    table.insert(0, "mean", table.mean(axis=1, skipna=False))
    return table


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """The table as one Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())


def page(
    title: str,
    answer: str,
    table: pd.DataFrame,
    scores: pd.DataFrame,
    against: pd.DataFrame,
    measured: str,
) -> str:
    """The experiment's README."""
    parts = [f"# {title}", answer, "## Against the best", markdown(against_shown(against))]
    reference = best_cell(scores)
    for data, rows in table_of(table, scores).groupby("data", sort=False):
        shown = rows.droplevel("data").sort_values("area", ascending=False).rename(columns=HEADERS)
        differences = differences_of(scores[scores["data"] == data], reference)
        shown.insert(1, "minus the best", [differences.get(cell, "–") for cell in shown.index])
        plot = f"![anytime curves](curves-{data}.svg)"
        parts += [f"## {data}", markdown(shown.reset_index()), plot]
    return "\n\n".join([*parts, "## How it was measured", measured, EXPLANATION])


def how_measured(table: pd.DataFrame, found: Sequence[Figures]) -> str:
    """Seeds and environment, as a sentence."""
    seeds = ", ".join(map(str, sorted(table.seed.unique())))
    return f"Seeds {seeds}; {environment_in_words(each.version for each in found)}."


def differences_of(scores: pd.DataFrame, reference: str) -> dict[str, str]:
    """Mean difference of each cell's area to the reference's and its 95% interval, in words."""
    rows = comparisons(scores, reference).to_dict("records")
    return {
        row["cell"]: f"{row['difference']:+.4f} ({bounds(row['low'], row['high'])})" for row in rows
    }


def against_shown(against: pd.DataFrame) -> pd.DataFrame:
    """The comparisons for people."""
    return pd.DataFrame(
        {
            "cell": against.cell,
            "difference": [f"{value:+.4f}" for value in against.difference],
            "95% interval": list(map(bounds, against.low, against.high)),
            "effect": ["–" if math.isnan(value) else f"{value:+.2f}" for value in against.effect],
            "p": [f"{value:.4f}" for value in against.p],
            "data sets where better": [f"{value:.0%}" for value in against.wins],
            "pairs": against.pairs,
        }
    )


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown; numbers with four digits."""
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    lines = [list(map(str, table.columns)), ["---"] * len(table.columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.4g}"
