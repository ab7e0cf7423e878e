"""Pairs of data set and seed: on which of them cells can be compared, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from bdistil.errors import SearchError
from bdistil.experiments.statistics import LEAST_TEACHER

PAIR = ["data", "seed"]


def shares_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Shares of the teacher's metric: a row a pair, a column a cell, NaN where there is none."""
    return scores.pivot(index=PAIR, columns="cell", values="share")


def common(scores: pd.DataFrame) -> pd.DataFrame:
    """The part of :func:`shares_of` that is full, so that who fails on hard data gains nothing.

    Where no pair has all cells, those that have the fewest go, until one has all of the others.

    Raises:
        SearchError: if there is no share at all.
    """
    wide = shares_of(scores)
    if wide.isna().all(axis=None):
        raise SearchError(
            f"there is nothing to compare, since no teacher's metric is {LEAST_TEACHER} or more, "
            "so that no share of it says anything; give the data better teachers."
        )
    while wide.dropna().empty:
        wide = wide.drop(columns=wide.count().idxmin())
    return wide.dropna()


def left_out(scores: pd.DataFrame) -> list[str]:
    """What :func:`common` does without, in sentences; none if that is nothing."""
    wide, kept = shares_of(scores), common(scores)
    known = wide.dropna(how="all")
    sentences = [] if len(known) == len(wide) else [without_share(scores)]
    if len(kept) < len(known):
        missing = "; ".join(
            f"{cell} has none on {places(column.index[column.isna()])}"
            for cell, column in known.items()
            if column.isna().any()
        )
        sentences.append(
            f"The best is chosen on {len(kept)} of {len(known)} pairs of data set and seed, as not "
            f"every cell has an answer on the others ({missing})."
        )
    if others := [cell for cell in wide.columns if cell not in kept.columns]:
        sentences.append(f"Not among those to choose from: {', '.join(others)}.")
    return sentences


def without_share(scores: pd.DataFrame) -> str:
    """On which pairs the teacher is hardly better than nothing; empty if there are none."""
    pairs = scores[scores.share.isna()].set_index(PAIR).index.unique()
    if pairs.empty:
        return ""
    return (
        f"Shares of the teacher's metric leave out {places(pairs)}, where that is below "
        f"{LEAST_TEACHER}, so that no share of it says anything."
    )


def places(pairs: Iterable[tuple[str, int]]) -> str:
    """Pairs as text, such as ``digits (seeds 0, 2), cube (seed 1)``."""
    seeds: dict[str, list[int]] = {}
    for data, seed in pairs:
        seeds.setdefault(data, []).append(seed)
    return ", ".join(
        f"{data} (seed{'s' * (len(each) > 1)} {', '.join(map(str, sorted(each)))})"
        for data, each in seeds.items()
    )
