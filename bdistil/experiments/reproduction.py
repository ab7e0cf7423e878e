"""Does an experiment that was run again come out as the committed one?"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bdistil.errors import SpecError
from bdistil.experiments.ablation import areas
from bdistil.experiments.statistics import CONFIDENCE, LEAST_TEACHER
from bdistil.experiments.write_up import CURVES_FILE
from bdistil.words import counted

MOST_ALLOWED = 0.1
"""Of the teacher's metric; where means may be further apart, that they are not says nothing."""
EQUAL = 5e-5
"""Half of the last digit: means that are no further apart are the same, whatever is allowed."""

KEYS = ["data", "cell", "seed"]


def committed_curves(folder: Path) -> pd.DataFrame:
    """What an experiment's folder holds of its runs.

    Raises:
        SpecError: if it is missing or damaged.
    """
    file = folder / CURVES_FILE
    if not file.exists():
        raise SpecError(f"{folder} has no {CURVES_FILE}; give the folder of a finished experiment.")
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError):
        raise SpecError(f"{file} is damaged; restore it.") from None


def seeds_of(committed: pd.DataFrame, folder: Path, count: int | None) -> list[int]:
    """The first `count` of an experiment's seeds, or all.

    Raises:
        SpecError: if there are not so many, or fewer than two, which do not say what seeds explain.
    """
    seeds = sorted(map(int, committed.seed.unique()))
    if len(seeds) < 2:
        raise SpecError(
            f"{folder} has figures of fewer than two seeds, which do not tell how far they may "
            f"differ; give its command more --seeds first."
        )
    if count is not None and count > len(seeds):
        raise SpecError(f"--seeds {count}: {folder} has {len(seeds)}; ask for at most so many.")
    return seeds[:count]


def reproduction(
    ours: pd.DataFrame, committed: pd.DataFrame, data: Collection[str], seeds: Collection[int]
) -> pd.DataFrame:
    """A row for each cell of these data sets that has committed figures of these seeds.

    Columns: `data`, `cell`, `committed` and `ours` (mean share of the teacher's metric under the
    anytime curve over the seeds that both have), `seeds` (so many), `missing` (runs without an
    answer this time), `allowed` (how far apart the means may be) and `holds`. Elsewhere the same
    seeds are new draws, since another processor rounds otherwise. So two means of n of them may
    differ by t·s·sqrt(2/n): t of 95% confidence, shared out among all rows, and s over all cells
    of a data set and all committed seeds, as a few tell little of one. Seeds are left out where the
    committed teacher's metric is below 0.05.

    Args:
        ours: :func:`~bdistil.experiments.ablation.curves` of the new runs.
        committed: the same of the old ones.
        data: names of the data sets that were run again.
        seeds: that were run again.

    Raises:
        SpecError: if the committed figures have no share at all.
    """
    wanted = committed[committed.data.isin(data) & committed.seed.isin(seeds)]
    repeated = ours.merge(wanted[KEYS].drop_duplicates(), on=KEYS)
    pairs = pd.DataFrame({"committed": shares(wanted)})
    pairs["ours"] = shares(repeated).reindex(pairs.index)
    if pairs.empty:
        raise SpecError(
            f"no teacher of these data sets and seeds has a metric of {LEAST_TEACHER} or more, so "
            "that no share of it can be held against another; choose other --data."
        )
    missing = pairs.ours.isna()
    both = pairs.mask(missing).groupby(["data", "cell"], sort=False)
    table = both.mean()
    table["missing"] = missing.groupby(["data", "cell"], sort=False).sum()
    spread, freedom = pooled(areas(committed))
    sets = table.index.get_level_values("data")
    s, df = spread.reindex(sets).to_numpy(), freedom.reindex(sets).to_numpy()
    table["seeds"] = both.ours.count()
    t = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / len(table), np.maximum(df, 1))
    table["allowed"] = t * s * np.sqrt(2 / table.seeds)
    apart = (table.ours - table.committed).abs()
    table["holds"] = (apart <= table.allowed + 1e-9) & (table.missing == 0)
    return table.reset_index()


def shares(table: pd.DataFrame) -> pd.Series:
    """The share of the teacher's metric of each run, where one says anything."""
    return areas(table).set_index(KEYS).share.dropna()


def pooled(scores: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Standard deviation between seeds within cells, and its degrees of freedom, by data set."""
    cells = scores.dropna(subset="share").groupby(["data", "cell"], sort=False).share
    squares = (cells.var(ddof=1) * (cells.size() - 1)).fillna(0.0)
    freedom = (cells.size() - 1).groupby("data", sort=False).sum()
    variance = squares.groupby("data", sort=False).sum() / freedom.clip(lower=1)
    return variance.pow(0.5), freedom


def verdict(table: pd.DataFrame) -> str:
    """A sentence or two."""
    apart = (table.ours - table.committed).abs()
    wrong, vague = table[~table.holds], table[(table.allowed > MOST_ALLOWED) & (apart > EQUAL)]
    if not wrong.empty:
        return does_not(wrong, len(table))
    if not vague.empty:
        return cannot_tell(vague, table.drop(vague.index))
    all_lie = "the one mean lies" if len(table) == 1 else f"all {len(table)} means lie"
    return f"Reproduces: {all_lie} within {explained(table)}."


def does_not(wrong: pd.DataFrame, means: int) -> str:
    """Which means are others than they were."""
    differ = "differs" if len(wrong) == 1 else "differ"
    named = "; ".join(difference(row) for row in wrong.itertuples())
    return f"Does not reproduce: {len(wrong)} of {counted(means, 'mean')} {differ}: {named}."


def cannot_tell(vague: pd.DataFrame, others: pd.DataFrame) -> str:
    """Which means could be far apart and yet explained, so that they lie within says nothing."""
    named = "; ".join(beside(row) for row in vague.itertuples())
    means = counted(len(vague) + len(others), "mean")
    answer = (
        f"Cannot tell: for {len(vague)} of {means}, seeds may explain more than {MOST_ALLOWED} of "
        f"the teacher's metric: {named}; more seeds would tell."
    )
    if others.empty:
        return answer
    lie = "other mean lies" if len(others) == 1 else f"{len(others)} other means lie"
    return f"{answer} The {lie} within {explained(others)}."


def beside(row: Any) -> str:
    """A row of :func:`reproduction` of which nothing can be told."""
    figures = f"{row.cell} on {row.data} {row.ours:.4f} beside {row.committed:.4f}"
    return f"{figures} (± {row.allowed:.4f} with {counted(row.seeds, 'seed')})"


def explained(table: pd.DataFrame) -> str:
    """How far means that hold are apart, and may be."""
    worst = (table.ours - table.committed).abs().max()
    return f"what seeds explain (largest difference {worst:.4f}; {spanned(table.allowed)} may be)"


def spanned(allowed: pd.Series) -> str:
    """How far apart means may be, from the least to the most."""
    least, most = f"{allowed.min():.4f}", f"{allowed.max():.4f}"
    return f"± {least}" if least == most else f"± {least} to {most}"


def difference(row: Any) -> str:
    """What is wrong with a row of :func:`reproduction`."""
    cell = f"{row.cell} on {row.data}"
    if row.missing:
        return f"{cell} has no answer in {counted(row.missing, 'run')}"
    return f"{cell} {row.ours:.4f} instead of {row.committed:.4f} (± {row.allowed:.4f})"
