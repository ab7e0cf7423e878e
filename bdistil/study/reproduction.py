"""Does an experiment that was run again come out as the committed one?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from bdistil.errors import SpecError
from bdistil.study.ablation import areas
from bdistil.study.statistics import CONFIDENCE
from bdistil.study.write_up import CURVES_FILE


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
        SpecError: if there are not so many, or only one, which tells nothing of what seeds explain.
    """
    seeds = sorted(map(int, committed.seed.unique()))
    if len(seeds) < 2:
        raise SpecError(
            f"{folder} has one seed, which does not tell how far figures may differ; give its "
            f"command more --seeds first."
        )
    if count is not None and count > len(seeds):
        raise SpecError(f"--seeds {count}: {folder} has {len(seeds)}; ask for at most so many.")
    return seeds[:count]


def reproduction(ours: pd.DataFrame, committed: pd.DataFrame) -> pd.DataFrame:
    """A row for each data set and cell that both have.

    Columns: `data`, `cell`, `committed` and `ours` (mean share of the teacher's metric under the
    anytime curve), `allowed` (how far apart they may be) and `holds`. Elsewhere the same seeds are
    new draws, since another processor rounds otherwise. So means of n and m of them may differ by
    t·s·sqrt(1/n + 1/m): t of 95% confidence, shared out among all rows, and s over all cells of a
    data set, as a few seeds tell little of one.

    Args:
        ours: :func:`~bdistil.study.ablation.curves` of the new runs.
        committed: the same of the old ones.
    """
    old, new = areas(committed), areas(ours[ours.cell.isin(committed.cell)])
    keys = ["data", "cell"]
    table = pd.concat(
        {
            "committed": old.groupby(keys, sort=False).share.mean(),
            "ours": new.groupby(keys, sort=False).share.mean(),
            "n": old.groupby(keys, sort=False).share.size(),
            "m": new.groupby(keys, sort=False).share.size(),
        },
        axis=1,
    ).dropna()
    spread, freedom = pooled(old)
    sets = table.index.get_level_values("data")
    s, df = spread.reindex(sets).to_numpy(), freedom.reindex(sets).to_numpy()
    t = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / len(table), np.maximum(df, 1))
    table["allowed"] = t * s * np.sqrt(1 / table.n + 1 / table.m)
    table["holds"] = (table.ours - table.committed).abs() <= table.allowed + 1e-9
    return table.drop(columns=["n", "m"]).reset_index()


def pooled(scores: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Standard deviation between seeds within cells, and its degrees of freedom, by data set."""
    cells = scores.groupby(["data", "cell"], sort=False).share
    squares = (cells.var(ddof=1) * (cells.size() - 1)).fillna(0.0)
    freedom = (cells.size() - 1).groupby("data", sort=False).sum()
    variance = squares.groupby("data", sort=False).sum() / freedom.clip(lower=1)
    return variance.pow(0.5), freedom


def verdict(table: pd.DataFrame) -> str:
    """One sentence."""
    wrong = table[~table.holds]
    if wrong.empty:
        worst = (table.ours - table.committed).abs().max()
        return (
            f"Reproduces: all {len(table)} means lie within what seeds explain "
            f"(largest difference {worst:.4f})."
        )
    named = "; ".join(
        f"{row.cell} on {row.data} {row.ours:.4f} instead of {row.committed:.4f} "
        f"(± {row.allowed:.4f})"
        for row in wrong.itertuples()
    )
    return f"Does not reproduce: {len(wrong)} of {len(table)} means differ: {named}."
